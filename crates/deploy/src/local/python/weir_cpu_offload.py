"""vLLM's native KV-cache offloading on its CPU platform: `OffloadingConnector` without a GPU.

vLLM refuses its own offloading specs on the CPU platform, because their worker copies with CUDA
streams. The specs below differ from vLLM's in that worker alone: blocks are copied with PyTorch
index operations, at once, within the engine step that asks for them.

Genuine, vLLM's own: the connector and its scheduler side (what is stored and looked up, when, and
what waits for it), the managers with LRU and ARC, secondary tiers such as `fs` with their threads
and files, KV events, and all metrics; bytes and seconds of each copy are measured here and counted
by vLLM (`vllm:kv_offload_{load,store}_{bytes,time}_total`).

Replaced: the copy, and with it its speed. It is memory to memory and does not overlap with
computing, as it does on a GPU. So whether and what is hit means something, how fast a copy is does
not.

Use: put this file's folder on PYTHONPATH and name it in `kv_connector_extra_config`:
`{"spec_name": "WeirCpuOffloadingSpec", "spec_module_path": "weir_cpu_offload",
"cpu_bytes_to_use": N}`, or `WeirCpuTieringSpec` with `secondary_tiers`.

Written for the interface of vLLM 0.32 (`vllm.v1.kv_offload.base.OffloadingWorker`).
"""

import time

import torch
from vllm.v1.kv_offload.base import OffloadingWorker, TransferResult
from vllm.v1.kv_offload.cpu.shared_offload_region import SharedOffloadRegion
from vllm.v1.kv_offload.cpu.spec import CPUOffloadingSpec
from vllm.v1.kv_offload.tiering.spec import TieringOffloadingSpec


class IndexCopyWorker(OffloadingWorker):
    """Copies blocks between the engine's KV tensors and tensors of the host tier.

    A chunk of the host tier holds `blocks_per_chunk` blocks; the first and the last chunk of a
    transfer may be used in part.
    """

    def __init__(self, caches, chunks, blocks_per_chunk, region=None):
        self.blocks_per_chunk = blocks_per_chunk
        self.region = region
        self.engine, self.host = [], []
        for cache in caches.tensors:
            page = cache.page_size_bytes
            self.engine.append(cache.tensor.view(torch.int8).view(-1, page))
            size = page * blocks_per_chunk
            host = (
                torch.zeros((chunks, size), dtype=torch.int8)
                if region is None
                else region.create_next_worker_view(size)
            )
            self.host.append(host.unflatten(1, (blocks_per_chunk, page)))
        self.groups = caches.group_data_refs
        self.done = []

    def submit_store(self, job_id, src_spec, dst_spec):
        return self.copied(job_id, src_spec, dst_spec, self.store)

    def submit_load(self, job_id, src_spec, dst_spec):
        return self.copied(job_id, dst_spec, src_spec, self.load)

    def get_finished(self):
        done, self.done = self.done, []
        return done

    def wait(self, job_ids):
        """Nothing is ever on its way."""

    def shutdown(self):
        self.engine.clear()
        self.host.clear()
        if self.region is not None:
            self.region.cleanup()
            self.region = None

    def store(self, tensor, blocks, chunks, places, size):
        self.host[tensor][chunks, places, :size] = self.engine[tensor][blocks, :size]

    def load(self, tensor, blocks, chunks, places, size):
        self.engine[tensor][blocks, :size] = self.host[tensor][chunks, places, :size]

    def copied(self, job_id, engine_spec, host_spec, copy):
        """Copies all groups of layers, and says how many bytes took how long."""
        began, moved = time.perf_counter(), 0
        block_ids = torch.as_tensor(engine_spec.block_ids, dtype=torch.long)
        chunk_ids = torch.as_tensor(host_spec.block_ids, dtype=torch.long)
        block_at, chunk_at = 0, 0
        sizes = zip(engine_spec.group_sizes, engine_spec.block_indices, self.groups, strict=True)
        for count, first, layers in sizes:
            if count == 0:
                continue
            # The first block may lie in the middle of its chunk.
            position = torch.arange(count) + first % self.blocks_per_chunk
            used = int(position[-1]) // self.blocks_per_chunk + 1
            blocks = block_ids[block_at : block_at + count]
            chunks = chunk_ids[chunk_at : chunk_at + used][position // self.blocks_per_chunk]
            places = position % self.blocks_per_chunk
            for layer in layers:
                copy(layer.tensor_idx, blocks, chunks, places, layer.page_size_bytes)
                moved += count * layer.page_size_bytes
            block_at, chunk_at = block_at + count, chunk_at + used
        assert (block_at, chunk_at) == (len(block_ids), len(chunk_ids))
        seconds = time.perf_counter() - began
        self.done.append(TransferResult(job_id, True, moved, seconds))
        return True


class WeirCpuOffloadingSpec(CPUOffloadingSpec):
    """Host memory as the second tier."""

    worker_class = IndexCopyWorker

    def get_worker(self, kv_caches):
        if self._worker is None:
            self._worker = self.worker_class(kv_caches, self.num_chunks, self.blocks_per_chunk)
        return self._worker


class WeirCpuTieringSpec(TieringOffloadingSpec):
    """Host memory as the second tier, and `secondary_tiers` behind it."""

    worker_class = IndexCopyWorker

    def get_worker(self, kv_caches):
        if self._worker is None:
            self._worker = self.create_worker(kv_caches)
        return self._worker

    def create_worker(self, kv_caches):
        if self.config.canonical_layout:
            raise ValueError("canonical_layout is not copied by WeirCpuTieringSpec: leave it out")
        region = SharedOffloadRegion(
            engine_id=self._engine_id,
            num_chunks=self.num_chunks,
            rank=0 if self.replicated_layout else self.config.parallel.rank,
            kv_bytes_per_chunk=self.kv_bytes_per_chunk,
            cpu_page_size=self.cpu_page_size_per_worker,
        )
        try:
            return self.worker_class(kv_caches, self.num_chunks, self.blocks_per_chunk, region)
        except Exception:
            region.cleanup()
            raise
