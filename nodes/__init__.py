"""The ComfyUI nodes of this pack, the only place that imports ComfyUI."""
