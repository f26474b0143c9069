//! `catalogues.md`: the names an experiment file may use, with the facts behind them.

use weir_model::{Accelerator, Bytes, ModelShape};
use weir_spec::catalogue::links::{DISKS, LinkProfile, STORES};
use weir_spec::catalogue::presets::{self, OffloadPreset, RoutingKind};
use weir_spec::catalogue::{accelerators, models};
use weir_spec::plan::ArmRole;

use super::Reference;
use super::table::{code, table};

pub(crate) fn reference() -> Reference {
    let body = format!(
        "# Catalogues\n\nThe names that an experiment file may use. Anything that is not here can \
         be written out in the file instead: a model as a Hugging Face `config.json`, hardware, a \
         link.\n\n## Models\n\nAn instruction-tuned variant (`-Instruct`) has the shape of its \
         base model.\n\n{}\n## Accelerators\n\nHardware is a count and a name: `2x-l40s`. Where \
         the constants of the timing model are a relative's, predictions are marked \
         uncalibrated.\n\n{}\n## Arms\n\n{}\nSizes where the file gives none:\n\n{}\n\
         ## Disks\n\n{}\n## Stores\n\n{}",
        model_table(),
        accelerator_table(),
        arm_table(),
        size_table(),
        link_table(&DISKS),
        link_table(&STORES),
    );
    Reference::markdown("docs/reference/catalogues.md", &body)
}

fn model_table() -> String {
    let heads =
        ["model", ">layers", ">KV heads", ">KV bytes/token", ">weights", ">context", "kind"];
    let row = |model: ModelShape| {
        vec![
            code(&model.name),
            model.layers.to_string(),
            model.kv_heads.to_string(),
            model.kv_bytes_per_token().0.to_string(),
            model.weight_bytes.map_or("-".to_owned(), |bytes| bytes.to_string()),
            model.context.to_string(),
            kind(&model),
        ]
    };
    table(&heads, models::all().into_iter().map(row))
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
        parts.push(format!("{} B/weight", model.bytes_per_weight));
    }
    parts.join(", ")
}

fn accelerator_table() -> String {
    let heads = [
        "accelerator",
        ">memory MiB",
        ">bf16 TFLOP/s",
        ">memory GB/s",
        ">L2 MiB",
        ">host link GB/s",
        "constants",
    ];
    let row = |one: Accelerator| {
        vec![
            code(&one.name),
            one.memory_mib.to_string(),
            one.bf16_tflops.to_string(),
            one.memory_gb_per_s.to_string(),
            one.l2_mib.to_string(),
            one.host_link_gb_per_s.to_string(),
            if one.calibrated { "fitted" } else { "a relative's" }.to_owned(),
        ]
    };
    table(&heads, accelerators::all().into_iter().map(row))
}

fn arm_table() -> String {
    let row = |preset: presets::Preset| {
        vec![
            code(preset.name),
            preset.description.to_owned(),
            role(preset.role).to_owned(),
            tiers(preset.offload),
            routing(preset.routing),
        ]
    };
    table(&["preset", "what it is", "part", "tiers", "routing"], presets::ALL.into_iter().map(row))
}

const fn role(role: ArmRole) -> &'static str {
    match role {
        ArmRole::Control => "control",
        ArmRole::ControlAgain => "control, again",
        ArmRole::RoutingControl => "control of routing",
        ArmRole::Treatment => "under test",
        ArmRole::AsDeployed => "as deployed",
    }
}

fn tiers(offload: Option<OffloadPreset>) -> String {
    let Some(offload) = offload else { return "none".to_owned() };
    let disk = offload.disk.map(|_| "disk".to_owned());
    let store = offload.store.map(|store| format!("remote (`{store}`)"));
    let tiers: Vec<String> = std::iter::once("host".to_owned()).chain(disk).chain(store).collect();
    tiers.join(", ")
}

fn routing(routing: RoutingKind) -> String {
    match routing {
        RoutingKind::Shared => "the experiment's".to_owned(),
        RoutingKind::Random => "by chance".to_owned(),
        RoutingKind::Approximate => "approximate prefix index".to_owned(),
        RoutingKind::Precise(index) => format!("precise prefix index ({index})"),
    }
}

fn size_table() -> String {
    let bytes = |bytes: Bytes| bytes.to_string();
    let rows = [
        ("host memory of `native-offload`", bytes(presets::NATIVE_BYTES)),
        ("host memory of `native-fs`", bytes(presets::NATIVE_FS_HOST_BYTES)),
        ("file system of `native-fs`", bytes(presets::NATIVE_FS_BYTES)),
        ("file of `native-fs`", format!("{} blocks", presets::NATIVE_FS_CHUNK_BLOCKS)),
        ("host memory of LMCache, per rank", bytes(presets::LMCACHE_BYTES_PER_RANK)),
        ("disk of `lmcache-disk`", bytes(presets::LMCACHE_DISK_BYTES)),
        ("remote store", bytes(presets::STORE_BYTES)),
        ("chunk of LMCache", format!("{} tokens", presets::LMCACHE_CHUNK_TOKENS)),
    ];
    table(&["what", ">size"], rows.map(|(what, size)| vec![what.to_owned(), size]))
}

fn link_table(profiles: &[LinkProfile]) -> String {
    let heads =
        ["name", ">read GB/s", ">write GB/s", ">latency", ">lanes", "measured", "where from"];
    let row = |profile: &LinkProfile| {
        vec![
            code(profile.name),
            profile.read_gb_per_s.to_string(),
            profile.write_gb_per_s.to_string(),
            profile.latency.to_string(),
            profile.lanes.to_string(),
            if profile.measured { "yes" } else { "no" }.to_owned(),
            profile.source.to_owned(),
        ]
    };
    table(&heads, profiles.iter().map(row))
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
