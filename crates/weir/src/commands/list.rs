use weir_report::tables::{Table, text};
use weir_spec::catalogue::{accelerators, models, presets};

use crate::cli::{Catalogue, ListArgs};
use crate::exit::Exit;
use crate::printer::Printer;

pub(crate) fn run(args: &ListArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let chosen = match args.what {
        Some(what) => vec![what],
        None => vec![Catalogue::Models, Catalogue::Hardware, Catalogue::Arms],
    };
    let tables: Vec<String> = chosen
        .into_iter()
        .map(|what| match what {
            Catalogue::Models => text(&model_table()),
            Catalogue::Hardware => text(&hardware_table()),
            Catalogue::Arms => text(&arm_table()),
        })
        .collect();
    printer.result(&tables.join("\n"))?;
    Ok(Exit::Done)
}

fn model_table() -> Table {
    let heads = ["model", ">layers", ">KV heads", ">KV bytes/token", ">weights", ">context"];
    let mut table = Table::new("Models (or a Hugging Face config.json)", &heads);
    for model in models::all() {
        table.rows.push(vec![
            model.name.as_str().into(),
            model.layers.to_string().into(),
            model.kv_heads.to_string().into(),
            model.kv_bytes_per_token().0.to_string().into(),
            model.weight_bytes.map_or("-".to_owned(), |bytes| bytes.to_string()).into(),
            model.context.to_string().into(),
        ]);
    }
    table
}

fn hardware_table() -> Table {
    let heads = ["accelerator", ">GiB", ">bf16 TFLOP/s", ">GB/s", ">host link GB/s", "constants"];
    let mut table = Table::new("Hardware (`2x-l40s` is two of them in one replica)", &heads);
    for accelerator in accelerators::all() {
        let constants = if accelerator.calibrated { "fitted" } else { "uncalibrated" };
        table.rows.push(vec![
            accelerator.name.as_str().into(),
            format!("{:.1}", accelerator.memory_mib as f64 / 1024.0).into(),
            accelerator.bf16_tflops.to_string().into(),
            accelerator.memory_gb_per_s.to_string().into(),
            accelerator.host_link_gb_per_s.to_string().into(),
            constants.into(),
        ]);
    }
    table
}

fn arm_table() -> Table {
    let mut table = Table::new("Arms", &["preset", "what it is"]);
    for preset in presets::ALL {
        table.rows.push(vec![preset.name.into(), preset.description.into()]);
    }
    table
}
