//! Of static binaries: musl's own allocator makes threads wait for each other.
#![cfg(target_env = "musl")]

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
