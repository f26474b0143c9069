//! Pressure stall information: time in which tasks waited for a resource.

use std::path::Path;

use weir_model::Nanos;

use super::kernel_file::KernelFile;

/// Since boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pressure {
    /// With at least one task waiting (`some`).
    pub waited: Nanos,
}

#[derive(Debug)]
pub(super) struct PressureFiles {
    files: [KernelFile; 3],
}

impl PressureFiles {
    pub(super) fn open(proc: &Path) -> Self {
        let folder = proc.join("pressure");
        Self { files: ["cpu", "memory", "io"].map(|name| KernelFile::open(&folder.join(name))) }
    }

    pub(super) fn read(&mut self) -> [Option<Pressure>; 3] {
        self.files.each_mut().map(|file| {
            let waited = total_microseconds(file.read()?)?.checked_mul(1000)?;
            Some(Pressure { waited: Nanos(waited) })
        })
    }
}

/// Microseconds, of `some avg10=0.00 avg60=0.00 avg300=0.00 total=123`.
fn total_microseconds(text: &str) -> Option<u64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    some.split(' ').find_map(|field| field.strip_prefix("total="))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_the_line_some_counts() {
        let text =
            "some avg10=1.00 avg60=2.00 avg300=3.00 total=2606286190\nfull avg10=0.00 total=9\n";
        assert_eq!(total_microseconds(text), Some(2_606_286_190));
        assert_eq!(total_microseconds("full avg10=0.00 total=9\n"), None);
    }
}
