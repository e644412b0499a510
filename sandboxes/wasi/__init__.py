"""Python compiled to WebAssembly, where the kernel has no walls to offer. Needs the extra `wasi`."""

from tir_gym.sandboxes.wasi.sandbox import WasiSandbox

__all__ = ["WasiSandbox"]
