"""Offloading that gives back wrong blocks, for tests of checks that look at outputs.

As `weir_cpu_offload`, of which it needs the folder on PYTHONPATH, but what is loaded is wrong:
`weir_corrupt` in `kv_connector_extra_config` says how, `zero` (blocks of zeros) or `swap` (the
blocks of another chunk, where more than one is stored). Hits, bytes and times are counted as if
nothing was wrong.
"""

from weir_cpu_offload import IndexCopyWorker, WeirCpuOffloadingSpec


class ZeroWorker(IndexCopyWorker):
    def load(self, tensor, blocks, chunks, places, size):
        self.engine[tensor][blocks, :size] = 0


class SwapWorker(IndexCopyWorker):
    # Chunks of the host tier that were ever written.
    written = 0

    def store(self, tensor, blocks, chunks, places, size):
        self.written = max(self.written, int(chunks.max()) + 1)
        super().store(tensor, blocks, chunks, places, size)

    def load(self, tensor, blocks, chunks, places, size):
        # Chunks are given out in order, so one half of them away is mostly another prompt's.
        other = (chunks + self.written // 2) % max(self.written, 1)
        super().load(tensor, blocks, other, places, size)


WORKERS = {"zero": ZeroWorker, "swap": SwapWorker}


class WeirCorruptOffloadingSpec(WeirCpuOffloadingSpec):
    def __init__(self, config):
        super().__init__(config)
        mode = self.extra_config.get("weir_corrupt")
        if mode not in WORKERS:
            raise ValueError(f"weir_corrupt is {mode!r}: write one of {', '.join(WORKERS)}")
        self.worker_class = WORKERS[mode]
