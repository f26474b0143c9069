use std::process::Command;

use weir_model::Product;
use weir_store::resp::RespTier;
use weir_store::server::program;
use weir_store::{RespOptions, Slab};

use crate::allocations::{BLOCK_BYTES, small_and_large};
use crate::resp_fixture::{layout, store};

#[test]
#[ignore = "the child of no_block_allocates: it must be alone in its process"]
fn child_that_counts() {
    let server = store(Product::Redis, "no_block_allocates").unwrap();
    let slab = Slab::new(64, BLOCK_BYTES).unwrap();
    for layout in [layout("count", true), layout("bare", false)] {
        let options = RespOptions::new(server.address(), layout.clone(), BLOCK_BYTES);
        let tier = RespTier::new(options).unwrap();
        assert_eq!(small_and_large(&tier, &slab), [(0, 0); 2], "{layout:?}");
    }
    println!("counted");
}

#[test]
fn no_block_allocates() {
    if program(Product::Redis).is_none() {
        // Prints the reason, or fails if the store must be installed.
        assert!(store(Product::Redis, "no_block_allocates").is_none());
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["resp_allocations::child_that_counts", "--exact", "--ignored", "--nocapture"])
        .arg("--test-threads=1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("counted"), "{said}{errors}");
}
