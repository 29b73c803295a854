"""From file to file: what the command line and the nodes ask for, made of the rooms below."""
