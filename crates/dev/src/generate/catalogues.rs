//! `catalogues.md`: the names an experiment file may use, with the facts behind them.

use weir_model::{Bytes, ModelShape};
use weir_report::tables::{Table, markdown};
use weir_spec::catalogue::links::{DISKS, LinkProfile, STORES};
use weir_spec::catalogue::presets::{self, OffloadKind, RoutingKind};
use weir_spec::catalogue::{accelerators, models};
use weir_spec::plan::ArmRole;

use super::Reference;

/// The reference.
pub(crate) fn reference() -> Reference {
    let body = format!(
        "# Catalogues\n\nThe names that an experiment file may use. Anything that is not here can \
         be written out in the file instead: a model as a Hugging Face `config.json`, hardware, a \
         link.\n\n## Models\n\nAn instruction-tuned variant (`-Instruct`) has the shape of its \
         base model.\n\n{}\n## Accelerators\n\nHardware is a count and a name: `2x-l40s`. Where \
         the constants of the timing model are a relative's, predictions are marked \
         uncalibrated.\n\n{}\n## Arms\n\n{}\nSizes where the file gives none:\n\n{}\n\
         ## Disks\n\n{}\n## Stores\n\n{}",
        markdown(&model_table()),
        markdown(&accelerator_table()),
        markdown(&arm_table()),
        markdown(&size_table()),
        markdown(&link_table(&DISKS)),
        markdown(&link_table(&STORES)),
    );
    Reference::markdown("docs/reference/catalogues.md", &body)
}

fn model_table() -> Table {
    let heads =
        ["model", ">layers", ">KV heads", ">KV bytes/token", ">weights", ">context", "kind"];
    let mut table = Table::new("", &heads);
    for model in models::all() {
        table.rows.push(vec![
            format!("`{}`", model.name).into(),
            model.layers.to_string().into(),
            model.kv_heads.to_string().into(),
            model.kv_bytes_per_token().0.to_string().into(),
            model.weight_bytes.to_string().into(),
            model.context.to_string().into(),
            kind(&model).into(),
        ]);
    }
    table
}

fn kind(model: &ModelShape) -> String {
    let mut parts = Vec::new();
    match model.experts {
        Some(experts) => parts.push(format!("{} of {} experts", experts.active, experts.count)),
        None => parts.push("dense".to_owned()),
    }
    if model.latent.is_some() {
        parts.push("latent attention".to_owned());
    }
    if model.bytes_per_weight < 2.0 {
        parts.push(format!("{} bytes per weight", model.bytes_per_weight));
    }
    parts.join(", ")
}

fn accelerator_table() -> Table {
    let heads = [
        "accelerator",
        ">memory MiB",
        ">bf16 TFLOP/s",
        ">memory GB/s",
        ">L2 MiB",
        ">host link GB/s",
        "constants",
    ];
    let mut table = Table::new("", &heads);
    for accelerator in accelerators::all() {
        let constants = if accelerator.calibrated { "fitted" } else { "a relative's" };
        table.rows.push(vec![
            format!("`{}`", accelerator.name).into(),
            accelerator.memory_mib.to_string().into(),
            accelerator.bf16_tflops.to_string().into(),
            accelerator.memory_gb_per_s.to_string().into(),
            accelerator.l2_mib.to_string().into(),
            accelerator.host_link_gb_per_s.to_string().into(),
            constants.into(),
        ]);
    }
    table
}

fn arm_table() -> Table {
    let mut table = Table::new("", &["preset", "what it is", "part", "tiers", "routing"]);
    for preset in presets::ALL {
        table.rows.push(vec![
            format!("`{}`", preset.name).into(),
            preset.description.into(),
            role(preset.role).into(),
            tiers(preset.offload).into(),
            routing(preset.routing).into(),
        ]);
    }
    table
}

const fn role(role: ArmRole) -> &'static str {
    match role {
        ArmRole::Control => "control",
        ArmRole::ControlAgain => "control, again",
        ArmRole::RoutingControl => "control of routing",
        ArmRole::Treatment => "under test",
    }
}

fn tiers(offload: OffloadKind) -> String {
    match offload {
        OffloadKind::None => "none".to_owned(),
        OffloadKind::Native | OffloadKind::LmcacheLocal => "host".to_owned(),
        OffloadKind::NativeFs | OffloadKind::LmcacheDisk => "host, disk".to_owned(),
        OffloadKind::LmcacheStore(store) => format!("host, remote (`{store}`)"),
    }
}

fn routing(routing: RoutingKind) -> String {
    match routing {
        RoutingKind::Shared => "the experiment's".to_owned(),
        RoutingKind::Random => "by chance".to_owned(),
        RoutingKind::Approximate => "approximate prefix index".to_owned(),
        RoutingKind::Precise(index) => format!("precise prefix index ({index})"),
    }
}

fn size_table() -> Table {
    let bytes = |bytes: Bytes| bytes.to_string();
    let rows = [
        ("host memory of `native-offload`", bytes(presets::NATIVE_BYTES)),
        ("host memory of `native-fs`", bytes(presets::NATIVE_FS_HOST_BYTES)),
        ("file system of `native-fs`", bytes(presets::NATIVE_FS_BYTES)),
        ("file of `native-fs`", format!("{} blocks", presets::NATIVE_FS_CHUNK_BLOCKS)),
        ("host memory of LMCache", bytes(presets::LMCACHE_BYTES)),
        ("disk of `lmcache-disk`", bytes(presets::LMCACHE_DISK_BYTES)),
        ("remote store", bytes(presets::STORE_BYTES)),
        ("chunk of LMCache", format!("{} tokens", presets::LMCACHE_CHUNK_TOKENS)),
    ];
    let mut table = Table::new("", &["what", ">size"]);
    table.rows.extend(rows.into_iter().map(|(what, size)| vec![what.into(), size.into()]));
    table
}

fn link_table(profiles: &[LinkProfile]) -> Table {
    let heads =
        ["name", ">read GB/s", ">write GB/s", ">latency", ">lanes", "measured", "where from"];
    let mut table = Table::new("", &heads);
    for profile in profiles {
        table.rows.push(vec![
            format!("`{}`", profile.name).into(),
            profile.read_gb_per_s.to_string().into(),
            profile.write_gb_per_s.to_string().into(),
            profile.latency.to_string().into(),
            profile.lanes.to_string().into(),
            if profile.measured { "yes" } else { "no" }.into(),
            profile.source.into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_listed() {
        let text = reference().text;
        let names = models::all().into_iter().map(|model| model.name);
        let names = names.chain(accelerators::all().into_iter().map(|one| one.name));
        let names = names.chain(presets::ALL.iter().map(|preset| preset.name.to_owned()));
        let links = DISKS.iter().chain(&STORES).map(|profile| profile.name.to_owned());
        for name in names.chain(links) {
            assert!(text.contains(&format!("| `{name}` |")), "{name}");
        }
    }

    #[test]
    fn constants_of_relatives_are_marked() {
        let text = reference().text;
        let line = |name: &str| {
            let start = format!("| `{name}` |");
            text.lines().find(|line| line.starts_with(&start)).map(str::to_owned)
        };
        assert!(line("h100").is_some_and(|line| line.contains("| fitted |")));
        assert!(line("l4").is_some_and(|line| line.contains("| a relative's |")));
    }
}
