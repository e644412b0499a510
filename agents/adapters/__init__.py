"""Our environments, rewards per turn and advantages in other people's trainers. See `docs/trainers.md`.

One module for each trainer, imported by whoever has it: `trl`, `verl`, `skyrl`, `verifiers`. Their packages exclude one
another, so none of them is a dependency, and each is tested in an environment of its own (`make test-trainers`). What
the modules share is here: an episode that waits for its tokens (`playing`), and advantages for trainers that know of
tokens only (`tokens`).
"""
