use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::Value;
use weir_model::ModelShape;
use xxhash_rust::xxh3::xxh3_64;

use super::{CheckpointError, MARKER, write};

fn shape() -> ModelShape {
    ModelShape {
        name: "tests/small".to_owned(),
        layers: 2,
        hidden: 64,
        heads: 4,
        kv_heads: 2,
        head_dim: 16,
        intermediate: 96,
        vocabulary: 512,
        context: 2048,
        weight_bytes: None,
        bytes_per_weight: 2.0,
        kv_bytes_per_element: 2,
        experts: None,
        latent: None,
        kv_layers: Vec::new(),
    }
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Header and data of a safetensors file.
fn read(folder: &Path) -> (Value, Vec<u8>) {
    let bytes = fs::read(folder.join("model.safetensors")).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    assert_eq!(length % 8, 0);
    (serde_json::from_slice(&bytes[8..8 + length]).unwrap(), bytes[8 + length..].to_vec())
}

/// Shape and values.
fn tensor(folder: &Path, name: &str) -> (Vec<u64>, Vec<f64>) {
    let (header, data) = read(folder);
    let offset = |index: usize| header[name]["data_offsets"][index].as_u64().unwrap() as usize;
    let values = data[offset(0)..offset(1)].chunks_exact(2).map(|pair| {
        f64::from(f32::from_bits(u32::from(u16::from_le_bytes([pair[0], pair[1]])) << 16))
    });
    let shape = header[name]["shape"].as_array().unwrap();
    (shape.iter().map(|size| size.as_u64().unwrap()).collect(), values.collect())
}

#[test]
fn the_folder_says_what_the_shape_says() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("below/small");
    write(&folder, &shape()).unwrap();
    let config = json(&folder.join("config.json"));
    assert_eq!(config["architectures"][0], "Qwen3ForCausalLM");
    assert_eq!((&config["head_dim"], &config["vocab_size"]), (&16.into(), &512.into()));
    assert_eq!(json(&folder.join("generation_config.json"))["eos_token_id"], 2);
    let (header, data) = read(&folder);
    let mut ends: Vec<(u64, u64)> = header
        .as_object()
        .unwrap()
        .iter()
        .filter(|(name, _)| *name != "__metadata__")
        .map(|(_, entry)| {
            let at = |index: usize| entry["data_offsets"][index].as_u64().unwrap();
            (at(0), at(1))
        })
        .collect();
    ends.sort_unstable();
    assert_eq!(ends.len(), 3 + 2 * 11);
    assert!(ends.windows(2).all(|pair| pair[0].1 == pair[1].0), "{ends:?}");
    assert_eq!(ends.last().unwrap().1, data.len() as u64);
}

#[test]
fn weights_are_normal_norms_are_one_and_special_tokens_are_never_chosen() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("small");
    write(&folder, &shape()).unwrap();
    for (name, rows, columns, sigma) in [
        ("model.embed_tokens.weight", 512, 64, 0.15),
        ("model.layers.1.self_attn.k_proj.weight", 32, 64, 0.02),
        ("model.layers.0.mlp.down_proj.weight", 64, 96, 0.02),
    ] {
        let (shape, values) = tensor(&folder, name);
        assert_eq!(shape, [rows, columns], "{name}");
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let found = (values.iter().map(|v| v * v).sum::<f64>() / n).sqrt();
        assert!(mean.abs() < 4.0 * sigma / n.sqrt(), "{name}: mean {mean}");
        assert!((found / sigma - 1.0).abs() < 4.0 / (2.0 * n).sqrt(), "{name}: sigma {found}");
    }
    let (shape, values) = tensor(&folder, "model.layers.1.self_attn.q_norm.weight");
    assert_eq!((shape, values), (vec![16], vec![1.0; 16]));
    let (_, output) = tensor(&folder, "lm_head.weight");
    assert!(output[..3 * 64].iter().all(|value| *value == 0.0));
    assert!(output[3 * 64..].iter().filter(|value| **value == 0.0).count() < 10);
    let first = tensor(&folder, "model.layers.0.self_attn.q_proj.weight").1;
    assert_ne!(first, tensor(&folder, "model.layers.1.self_attn.q_proj.weight").1);
}

#[test]
fn the_same_shape_gives_the_same_bytes_everywhere() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("small");
    write(&folder, &shape()).unwrap();
    let digest = xxh3_64(&fs::read(folder.join("model.safetensors")).unwrap());
    assert_eq!(format!("{digest:016x}"), "986ddcebd25f95c7");
}

#[test]
fn thirty_two_bits_are_written_where_the_shape_has_them() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("wide");
    write(&folder, &ModelShape { bytes_per_weight: 4.0, ..shape() }).unwrap();
    assert_eq!(json(&folder.join("config.json"))["torch_dtype"], "float32");
    let (header, data) = read(&folder);
    assert_eq!(header["lm_head.weight"]["dtype"], "F32");
    assert_eq!(header["lm_head.weight"]["data_offsets"][1], data.len() as u64);
}

#[test]
fn a_complete_folder_is_kept_and_another_or_a_damaged_one_replaced() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("small");
    let inode = || fs::metadata(folder.join("model.safetensors")).unwrap().ino();
    write(&folder, &shape()).unwrap();
    let first = inode();
    write(&folder, &ModelShape { name: "another/name".to_owned(), ..shape() }).unwrap();
    assert_eq!(inode(), first);
    write(&folder, &ModelShape { layers: 1, ..shape() }).unwrap();
    assert_eq!(json(&folder.join("config.json"))["num_hidden_layers"], 1);
    fs::write(folder.join("model.safetensors"), "cut").unwrap();
    write(&folder, &ModelShape { layers: 1, ..shape() }).unwrap();
    assert!(fs::metadata(folder.join("model.safetensors")).unwrap().len() > 3);
}

#[test]
fn what_a_killed_process_left_is_no_obstacle() {
    let place = tempfile::tempdir().unwrap();
    let left = place.path().join(".small.part");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("model.safetensors"), "half").unwrap();
    let folder = place.path().join("small");
    fs::create_dir(&folder).unwrap();
    write(&folder, &shape()).unwrap();
    assert!(folder.join(MARKER).exists() && !left.exists());
}

#[test]
fn somebody_elses_folder_is_left_alone() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("thesis.txt"), "all of it").unwrap();
    let refused = write(place.path(), &shape());
    assert!(matches!(refused, Err(CheckpointError::Foreign { .. })), "{refused:?}");
    assert!(place.path().join("thesis.txt").exists());
}

#[test]
fn several_at_once_agree() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("small");
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4).map(|_| scope.spawn(|| write(&folder, &shape()))).collect();
        for writer in writers {
            writer.join().unwrap().unwrap();
        }
    });
    assert!(folder.join(MARKER).exists());
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2, "the folder and the lock");
}

#[test]
fn shapes_that_are_not_a_dense_qwen3_are_refused_by_name() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("small");
    let latent = weir_model::shape::LatentAttention { rank: 8, rope: 4 };
    for (shape, words) in [
        (ModelShape { latent: Some(latent), ..shape() }, "not full attention"),
        (ModelShape { bytes_per_weight: 0.55, ..shape() }, "16 nor 32"),
        (ModelShape { vocabulary: 100, ..shape() }, "bytes"),
        (ModelShape { kv_heads: 3, ..shape() }, "evenly"),
        (ModelShape { head_dim: 15, ..shape() }, "odd"),
        (ModelShape { layers: 0, ..shape() }, "0"),
    ] {
        let said = write(&folder, &shape).unwrap_err().to_string();
        assert!(said.contains("tests/small") && said.contains(words), "{said}");
    }
    assert!(!folder.exists());
}
