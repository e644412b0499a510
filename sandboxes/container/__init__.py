"""Python in a container of Docker's or Podman's: the stronger wall, driven over the container's own pipe."""

from tir_gym.sandboxes.container.engine import Engine, connect
from tir_gym.sandboxes.container.image import DEFAULT_IMAGE, build_image
from tir_gym.sandboxes.container.reaping import reap
from tir_gym.sandboxes.container.sandbox import ContainerSandbox, fault

__all__ = ["DEFAULT_IMAGE", "ContainerSandbox", "Engine", "build_image", "connect", "fault", "reap"]
