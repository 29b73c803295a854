"""Small mistakes that the tests must see, each of the kind that is made by hand: a sign, an index, a forgotten term.

A mutation is a text that stands exactly once in its file and what is put in its place. `run.py` makes one after the
other in a copy of the repository and runs the tests of its part; `test_mutations.py` sees to it that every text is
still where it should be. Whoever rewrites a line keeps its mutation by writing the same mistake into the new one.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """A mistake: `old` in the file at `path` becomes `new`. tests: the files that are to see it, one at least."""

    path: str
    old: str
    new: str
    tests: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.path}: {self.old!r} -> {self.new!r}"


INSIDE = "tests/comfy/inside/"
"""Tests in this folder run in ComfyUI's Python."""

_TABLE: dict[tuple[str, str], list[tuple[str, str]]] = {
    ("svfr_model/engine/solvers.py", "tests/engine/test_solvers.py"): [
        ("previous_step / step", "step / previous_step"),
        ("/ following) / 2", "/ sigma) / 2"),
        ("torch.lerp(denoised, x, following / sigma,", "torch.lerp(x, denoised, following / sigma,"),
        ("first + k / steps *", "first + (k + 1) / steps *"),
        ("any(a <= b for", "any(a < b for"),
    ],
    ("svfr_model/base/options.py", "tests/base/test_options.py"): [
        ("if isinstance(value, bool):", "if isinstance(value, str):"),
        ("tuple[tuple(_limited(member, about)", "tuple[tuple(_limited(member, None)"),
        ("strict=True", "strict=False"),
    ],
    ("svfr_model/engine/windows.py", "tests/engine/test_windows.py"): [
        ("if step < OVERLAPPED_STEPS", "if step <= OVERLAPPED_STEPS"),
        ("shift = (step * overlap)", "shift = ((step + 1) * overlap)"),
        ("offset = (step * max(overlap, 1)) % stride", "offset = 0"),
        ("[last - 1] * (minimum", "[first] * (minimum"),
        ("min(j + 1, length - j)", "min(j + 1, length - j + 1)"),
    ],
    ("svfr_model/engine/denoiser.py", "tests/engine/test_denoiser.py"): [
        ("(False, 1.0 - scale)]", "(False, scale - 1.0)]"),
        ("level >= sigma * (1 - SIGMA_TOLERANCE)", "level >= sigma"),
        ("total.index_add_(0, index, part)", "total.index_copy_(0, index, part)"),
        ("if len(window.frames) == length]", "]"),
        ("given.tokens.any() else None", "True else None"),
    ],
    ("svfr_model/engine/conditioning.py", "tests/engine/test_restore.py"): [
        ("mask[first : first + count]", "mask[:count]"),
        ("_fade(held, frames[: len(held)])", "_fade(frames[: len(held)], held)"),
        ("part + augmentation * added", "part + added"),
        ("latents[first:last] / vae.scaling_factor", "latents[first:last] * vae.scaling_factor"),
    ],
    ("svfr_model/engine/restore.py", "tests/engine/test_restore.py"): [
        ("replace(options.first_options(), plan", "replace(options, plan"),
        ("options.seed + AUGMENTATION_SEED", "options.seed"),
        ("seed=options.seed + 1", "seed=options.seed"),
        ("levels[count - steps_left(count, options.strength) :]", "levels[: steps_left(count, options.strength) + 1]"),
        ("if position + row in kept", "if row in kept"),
        ("tokens if tokens is not None else referred", "referred"),
        ("landmarks[:count]", "landmarks[-count:]"),
        ("torch.mul(latents, scale,", "torch.div(latents, scale,"),
        ("return plan if count >= plan.length else", "return plan if count >= 1 else"),
    ],
    ("svfr_model/engine/restore.py", "tests/engine/test_presets.py"): [
        ("scale if low <= sigma <= high else 1.0", "scale if low < sigma < high else 1.0"),
    ],
    ("svfr_model/engine/options.py", "tests/engine/test_presets.py"): [
        ('replace(self, levels="", steps=self.first_steps', "replace(self, steps=self.first_steps"),
    ],
    ("svfr_model/engine/presets.py", "tests/engine/test_presets.py"): [
        ("field not in given and field not in overruled", "field not in given"),
        ('"few-3", EVERY_LEVEL, passes=1', '"few-3", EVERY_LEVEL, passes=2'),
    ],
    ("svfr_model/engine/level_log.py", "tests/engine/test_presets.py"): [
        ("if stage in self._seen or MAIN in self._seen:", "if stage in self._seen:"),
        ("self._levels[stage][done - 1]", "self._levels[stage][done]"),
    ],
    ("svfr_model/base/pixels.py", "tests/base/test_pixels.py"): [
        ("scaled if truncate else scaled + 0.5", "scaled + 0.5"),
        ("blue * 7471 + 0x8000", "blue * 7471"),
    ],
    ("svfr_model/base/tasks.py", "tests/base/test_tasks.py"): [
        ("task in chosen) for task in Task", "task in chosen) for task in [*Task][::-1]"),
    ],
    ("svfr_model/engine/self_reference.py", "tests/engine/test_self_reference.py"): [
        ("index = max(faces, key", "index = min(faces, key"),
        ("* frontality(face.landmarks) *", "*"),
        ("index = len(pictures) // 2 if", "index = 0 if"),
        ("self._fallback(landmarks)[index]", "self._fallback(landmarks)[0]"),
        ("faces[largest_box(np.stack([face.box for face in faces]))]", "faces[0]"),
    ],
    ("svfr_model/runs/restore_clip.py", "tests/runs/test_restore_tracks.py"): [
        ("torch.from_numpy(track.plan.landmarks)", "torch.from_numpy(track.plan.track.landmarks)"),
        ("pictures, alone, mask=mask", "pictures, alone, mask=None"),
    ],
    ("svfr_model/faces/cut.py", "tests/runs/test_restore_tracks.py"): [
        ("crop_mask(mask, self.plan, index)", "crop_mask(mask, self.plan, 0)"),
        ("self.crops[index], self.plan.landmarks[index]", "self.crops[index], self.plan.landmarks[0]"),
    ],
    ("svfr_model/faces/paste_clip.py", "tests/runs/test_restore_tracks.py"): [
        ("(crop, self.plan.landmarks[index]", "(crop, self.plan.landmarks[0]"),
        ("self.mask[index, 0]", "self.mask[0, 0]"),
        ("return Patch(self.plan, index, self.crops[index]", "return Patch(self.plan, index, self.crops[0]"),
    ],
    ("svfr_model/runs/portrait.py", "tests/runs/test_restore_file.py"): [
        ("factor = max(height /", "factor = min(height /"),
    ],
    ("svfr_model/runs/restore_file.py", "tests/runs/test_restore_file.py"): [
        ("replace(self._faces.crop, pre_downscale=1.0)", "self._faces.crop"),
        ("(self.reference,) if self.reference and self.options.passes == 2 else ()", "()"),
    ],
    ("svfr_model/faces/face.py", "tests/faces/test_reduce.py"): [
        ("shift = 0.5 * factor - 0.5", "shift = 0 * factor"),
    ],
    ("svfr_model/faces/geometry.py", "tests/faces/test_geometry.py"): [
        ("- offset - 0.5) / 2", "- offset) / 2"),
        ("center_x += float(np.clip(", "center_x -= float(np.clip("),
    ],
    ("svfr_model/faces/find.py", "tests/faces/test_people.py tests/faces/test_tracks.py"): [
        ("stack @ stack[first] >= 0.5", "stack @ stack[first] >= -1.0"),
        ("piece.frames[0] - last.frames[-1] - 1 <= max_gap", "piece.frames[0] - last.frames[-1] <= max_gap"),
        ("(length + 1) // 2", "length"),
        ("np.where(seen & whole, 1.0, UNSURE)", "np.ones(len(boxes))"),
    ],
    ("svfr_model/faces/follow.py", "tests/faces/test_people.py tests/faces/test_tracks.py"): [
        ("elif not crowded:", "else:"),
        ("last + velocity * (frame", "last - velocity * (frame"),
        ("PATIENCE * len(person.frames)", "PATIENCE"),
    ],
    ("svfr_model/faces/find.py", "tests/faces/test_search_resumed.py"): [
        ('"decided": self._decided,', '"decided": 0,'),
        ("saves = self._memory.done(SEARCH) + 1", "saves = 2"),
    ],
    ("svfr_model/faces/follow.py", "tests/faces/test_search_resumed.py"): [
        ('self._recent.extend(zip(state["recent"], recent, strict=True))', "pass"),
    ],
    ("svfr_model/faces/cut.py", "tests/runs/test_resume.py"): [('f"cut-{saves % 2}"', '"cut"')],
    ("svfr_model/engine/level_log.py", "tests/runs/test_resume.py"): [
        ("if self._is_known(stage, done, estimate):", "if False:"),
    ],
    ("svfr_model/faces/select.py", "tests/faces/test_select.py"): [
        ("t.person == best.person or ", ""),
        ("len(track) < len(other) / 2", "len(track) < len(other) / 9"),
    ],
    ("svfr_model/faces/crop.py", "tests/faces/test_crop.py"): [
        ("(1 + 2 * options.margin)", "(1 + options.margin)"),
        ("+= 0.5 * factor - 0.5", "+= 0.0"),
        ("np.where(outside, 4 * weights, weights)", "weights"),
    ],
    ("svfr_model/faces/paste.py", "tests/faces/test_paste.py"): [
        ("key=lambda patch: float(", "key=lambda patch: -float("),
        ("return weight * _trust(plan.track, index)", "return weight"),
        ("restored += 0.5", "restored += 0.0"),
    ],
    ("svfr_model/faces/color.py", "tests/faces/test_color.py"): [
        ("1.0 - 4.0 * unknown", "1.0 - 0.0 * unknown"),
        ("(spreads[0] + SHADOW) / (spreads[1] + SHADOW)", "(spreads[1] + SHADOW) / (spreads[0] + SHADOW)"),
    ],
    ("svfr_model/faces/smooth.py", "tests/faces/test_smooth.py"): [("** (2 * ORDER)", "** ORDER")],
    ("svfr_model/faces/shots.py", "tests/faces/test_shots.py"): [
        ("max(self._options.minimum, self._options.ratio * usual)", "self._options.minimum"),
    ],
    ("svfr_model/stc/enhance.py", "tests/stc/test_enhance.py"): [
        ('level=network.task == "deflicker"', "level=False"),
        ("if index in starts:", "if index == 0:"),
        ('network.task != "bfr"', 'network.task == "bfr"'),
    ],
    ("svfr_model/training/stc_losses.py", "tests/training/test_stc_path.py"): [
        ("+ codes + self._prior * prior", "+ codes"),
        ("stc_path.run(self.teacher, clean)", "stc_path.run(self.network.encoder, clean)"),
        ("F.mse_loss(latent, z.detach()), ", "F.mse_loss(latent.detach(), z.detach()), "),
        ("network.requires_grad_(False)", "network.requires_grad_(True)"),
        ("self._cross_entropy * (entropy_s + entropy_t)", "self._cross_entropy * entropy_s"),
    ],
    ("svfr_model/training/stc_path.py", "tests/training/test_stc_path.py"): [
        ("return z + (latent - z).detach()", "return latent"),
        ("temporal_attention(books.SA, z) + motion(z)", "temporal_attention(books.SA, z)"),
    ],
    ("svfr_model/training/stc_losses.py", "tests/training/test_stc_start.py"): [
        ("(found.temporal, found.entries_t))", "(found.temporal.detach(), found.entries_t))"),
    ],
    ("svfr_model/training/stc_start.py", "tests/training/test_stc_start.py"): [
        ("constants[1::4], constants[3::4] = 1.0, -1.0", "constants[1::4], constants[3::4] = 0.0, 0.0"),
        ("(found.temporal, books.embedding_t)", "(found.spatial, books.embedding_t)"),
        ("_fit(network.t_idx_pred_layer, found.temporal, found.codes_t)", "pass"),
    ],
    ("svfr_model/stc/frames.py", "tests/stc/test_enhance.py"): [(".clamp(0, 1) * 255).round()", ".clamp(0, 1) * 255)")],
    ("svfr_model/metrics/pixels.py", "tests/metrics/test_pixels.py"): [("return min(float(", "return max(float(")],
    ("svfr_model/metrics/meters.py", "tests/metrics/test_faces.py tests/metrics/test_temporal.py"): [
        ("not self._with_first or not self._started", "not self._started"),
    ],
    ("svfr_model/metrics/temporal.py", "tests/metrics/test_temporal.py"): [
        ("* REFERENCE_SIZE / max(before.shape)", "* REFERENCE_SIZE / min(before.shape)"),
    ],
    ("svfr_model/media/convert.py", "tests/media/test_video.py"): [
        ("flip_x, flip_y = c < 0, b < 0", "flip_x, flip_y = b < 0, c < 0"),
        ("width >= 1280 or height > 576", "width >= 1280 or height >= 576"),
    ],
    ("svfr_model/training/losses.py", "tests/training/test_losses.py"): [
        ("(noise - level * clean) / spread", "(noise + level * clean) / spread"),
        ("(known_clips == asked[:, None]) | (known_clips < 0)", "known_clips.expand(len(asked), -1) < 0"),
        ("self._keep(torch.cat(all_views), torch.cat(all_clips))", "pass"),
    ],
    ("svfr_model/training/train.py", "tests/training/test_train.py"): [
        ("recompute_blocks(networks.unet)", "pass"),
        ("loop.averaged()", "pass"),
        (" * use_reference.to(scaled).view(-1, 1, 1, 1)", ""),
        ('"grid": grid.repeat(2, 1, 1, 1)', '"grid": grid.repeat_interleave(2, 0)'),
        ("full_precision=True", "full_precision=False"),
        ("torch.autocast(device.type, enabled=False)", "torch.no_grad()"),
    ],
    ("svfr_model/training/feed.py", "tests/training/test_train.py"): [
        ("windows[row % count].frames, options", "windows[(row + 1) % count].frames, options"),
        ("flicker if Task.BFR in wanted else None", "None"),
    ],
    ("svfr_model/training/latent_cache.py", "tests/training/test_train.py"): [
        ("held[numbers[position]] = latents", "held[position] = latents"),
    ],
    ("svfr_model/training/loop.py", "tests/training/test_loop.py"): [
        ("given = seed if self._draw is None else self._draw(seed, number)", "given = seed"),
        ('self.accelerator.scaler.load_state_dict(state["scaler"])', "pass"),
        ('set_random_state(state["generators"][self.accelerator.process_index])', "pass"),
    ],
    ("svfr_model/training/loop.py", "tests/training/test_processes.py"): [
        ("    if accelerator.is_main_process:\n        try:", "    if True:\n        try:"),
    ],
    ("svfr_model/training/files.py", "tests/training/test_loop.py"): [
        ("if not parameter.requires_grad}", "if False}"),
    ],
    ("svfr_model/training/index.py", "tests/training/test_footage.py"): [
        ("video in self.videos and self.videos[video].mark == mark", "video in self.videos"),
        ("waiting.pop(done.video, {}).values()", "waiting.get(done.video, {}).values()"),
    ],
    ("svfr_model/training/prepare.py", "tests/training/test_footage.py"): [
        ("if not index.has(video, mark_of(folder / video))]", "]"),
        ("    except _StorageError:\n        raise\n", ""),
    ],
    ("svfr_model/media/seek.py", "tests/media/test_seek.py"): [
        ("frame is None or frame.pts != stamp", "frame is None"),
        ("frame.pts >= first", "frame.pts > first"),
    ],
    ("svfr_model/networks/identity.py", "tests/networks/test_models.py"): [
        ("self._project(grid).mean(dim=0)", "self._project(grid)[0]"),
    ],
    ("nodes/sampling.py", INSIDE + "test_nodes.py"): [
        ("restored.latents[list(restored.kept)] / networks", "restored.latents[list(restored.kept)] * networks"),
        ("mask = mask[: len(crops)]", "mask = mask[-len(crops) :]"),
        ("[..., : self.size[0], : self.size[1]]", "[..., -self.size[0] :, -self.size[1] :]"),
    ],
    ("nodes/self_reference.py", f"{INSIDE}test_frames.py {INSIDE}test_nodes.py"): [
        ("track.landmarks[:count]", "track.track.landmarks[:count]"),
        ("to_planar(crops[: len(frames)]), to_planar(frames)", "to_planar(frames), to_planar(frames)"),
    ],
    ("nodes/conditioning.py", INSIDE + "test_nodes.py"): [
        ("_conditioning(torch.zeros_like(tokens), clip", "_conditioning(tokens, clip"),
    ],
    ("nodes/widgets.py", f"{INSIDE}test_frames.py {INSIDE}test_nodes.py"): [
        ("return tuple(values)", "return (1.0, values[1])"),
        ("return values[1] if values[0] == BY_NUMBER", "return 0 if values[0] == BY_NUMBER"),
        ("values[0] == unset else", "values[0] != unset else"),
    ],
    ("nodes/solver.py", INSIDE + "test_nodes.py"): [("noise, nothing = x / levels[0]", "noise, nothing = x")],
    ("nodes/identity.py", INSIDE + "test_nodes.py"): [("in to_pictures(batch)]", "in to_pictures(batch)[:1]]")],
    ("nodes/images.py", INSIDE + "test_nodes.py"): [("return to_planar(image) * 2 - 1", "return to_planar(image)")],
    ("nodes/progress.py", f"{INSIDE}test_frames.py {INSIDE}test_nodes.py"): [("before += units", "before = units")],
    ("nodes/face.py", f"{INSIDE}test_frames.py {INSIDE}test_nodes.py"): [
        ("mask[plan.track.start + i, 0]", "mask[i, 0]"),
    ],
    ("nodes/paste.py", f"{INSIDE}test_frames.py {INSIDE}test_nodes.py"): [
        ("mask[min(number, len(mask) - 1), 0]", "mask[0, 0]"),
        ("np.full(size, blend, np.float32)", "np.ones(size, np.float32)"),
        ("tasks is not None and Task.INPAINTING not in tasks", "tasks is not None and Task.INPAINTING in tasks"),
    ],
    ("nodes/model.py", INSIDE + "test_model.py"): [
        ("tokens[:, None].expand(-1, frames, -1, -1)", "tokens[None].expand(frames, -1, -1, -1)"),
        ("half = int(reference is None and tokens is None)", "half = int(reference is not None)"),
        ("2 * noise.shape[1], *noise.shape[2:]", "noise.shape[1], *noise.shape[2:]"),
        ("for _ in range(count + 1)]", "for _ in range(count)]"),
    ],
    ("nodes/attention.py", INSIDE + "test_model.py"): [
        ("shared[::timesteps]", "shared[:: 2 * timesteps].repeat_interleave(2, 0)"),
        ('"optimized_attention_override" in transformer_options', "False"),
        ('any(name.startswith("attn2") for name in patches)', "False"),
        ('_replaced(options) or "attn2_patch" in', '"attn2_patch" in'),
        ("self.to_out(x.new_zeros(1, 1,", "(x.new_zeros(1, 1,"),
    ],
    ("svfr_model/networks/inference.py", "tests/networks/test_inference.py"): [
        ("encoder_hidden_states[::frames]", "encoder_hidden_states[:1].expand(len(x) // frames, -1, -1)"),
        ("self.time_pos_embed(self.time_proj(position)", "self.time_pos_embed(self.time_proj(position + 1)"),
        ("return _projected(attn, nothing)", "return nothing"),
        ("image_only_indicator=image_only_indicator)", "image_only_indicator=1 - image_only_indicator)"),
        ("return hidden + (input_tensor if", "return hidden * 0.5 + (input_tensor if"),
    ],
    ("nodes/vae.py", INSIDE + "test_vae.py"): [("moments.chunk(2, dim=1)[0]", "moments.chunk(2, dim=1)[1]")],
    ("nodes/memory.py", INSIDE + "test_memory.py"): [("min(count, self._size or count,", "min(count, count,")],
    ("nodes/stc.py", INSIDE + "test_stc.py"): [("motion=meters[-1]", "motion=meters[0]")],
    ("nodes/quality.py", INSIDE + "test_quality.py"): [
        ("int(position * clip.width)", "int(position * clip.height)"),
    ],
}

MUTATIONS = tuple(
    Mutation(path, old, new, tuple(tests.split())) for (path, tests), pairs in _TABLE.items() for old, new in pairs
)

SURVIVORS: dict[tuple[str, str], str] = {}
"""Why no test sees a mutation, by its path and `old`, for those few that are known and let live."""
