mod host; mod workload; mod weir; mod peer;
fn main() -> anyhow::Result<()> {
    host::pin_to_one_core()?;
    let n: u64 = std::env::args().nth(1).unwrap_or("20000".into()).parse()?;
    let size = workload::Size { requests: n, prefix_tokens: workload::PREFIX_TOKENS };
    let d = tempfile::tempdir()?;
    let (_, t) = host::timed(|| weir::recorded(size, &d.path().join("r")))?;
    println!("weir {t:?} {:?}", weir::recorded_work(&d.path().join("r"))?);
    let (_, t) = host::timed(|| weir::unrecorded(size))?;
    println!("weir unrec {t:?}");
    for k in 0..3 { 
    let (s, t) = host::timed(|| peer::simulate(size, if k==1 {peer::Rows::Kept} else {peer::Rows::Summed}))?;
    println!("peer {t:?} {s:?}"); }
    let (s, t) = host::timed(|| peer::counted(size))?;
    println!("peer counted {t:?} {s:?}");
    let (s, t) = host::timed(|| Ok(peer::prompts(size)))?;
    println!("peer prompts {t:?} {s:?}");
    Ok(())
}
