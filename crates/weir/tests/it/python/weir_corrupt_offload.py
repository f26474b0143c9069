"""Offloading that gives back wrong blocks, for tests of checks that look at outputs.

As `weir_cpu_offload`, of which it needs the folder on PYTHONPATH, but what is loaded is wrong:
`weir_corrupt` in `kv_connector_extra_config` says how, `zero` (blocks of zeros) or `swap` (the
blocks of a chunk beside it). Hits, bytes and times are counted as if nothing was wrong.
"""

from weir_cpu_offload import IndexCopyWorker, WeirCpuOffloadingSpec


class ZeroWorker(IndexCopyWorker):
    def load(self, tensor, blocks, chunks, places, size):
        self.engine[tensor][blocks, :size] = 0


class SwapWorker(IndexCopyWorker):
    def load(self, tensor, blocks, chunks, places, size):
        # Chunks are given out in order, so the one half the distance away is another prompt's,
        # or another part of this one's.
        stored = self.stored
        other = (chunks + stored // 2) % max(stored, 1)
        super().load(tensor, blocks, other, places, size)

    stored = 0

    def store(self, tensor, blocks, chunks, places, size):
        self.stored = max(self.stored, int(chunks.max()) + 1)
        super().store(tensor, blocks, chunks, places, size)


WORKERS = {"zero": ZeroWorker, "swap": SwapWorker}


class WeirCorruptOffloadingSpec(WeirCpuOffloadingSpec):
    def __init__(self, config):
        super().__init__(config)
        self.worker_class = WORKERS[self.extra_config["weir_corrupt"]]
