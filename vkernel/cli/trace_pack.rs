//! `vkernel trace pack`: one self-contained file.

use crate::config::{PackConfig, refuse_path};
use crate::exit::ExitStatus;
use crate::say;
use anyhow::Result;

/// Writes the file and says what is in it.
pub fn run(config: &PackConfig) -> Result<ExitStatus> {
    recorder::pack(&config.reader, &config.images, &config.attachments, &config.output)
        .map_err(|error| refuse_path("-o", error))?;
    config.notice.iter().for_each(|notice| say::line(notice));
    let length_bytes = std::fs::metadata(&config.output).map_or(0, |metadata| metadata.len());
    let count = config.images.iter().count();
    let mut said =
        format!("wrote {} ({length_bytes} bytes): the trace, {count} images", config.output.display());
    for attachment in &config.attachments {
        said.push_str(&format!(", {}", attachment.name));
    }
    say::line(&said);
    Ok(ExitStatus::Good)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{record, store_in};
    use recorder::{Attachment, AttachmentKind, TraceReader, gather_images};

    #[test]
    fn a_packed_trace_needs_no_store() {
        let directory = tempfile::tempdir().unwrap();
        let store = store_in(directory.path());
        let (_, reader) = record(&store);
        let images = gather_images(&reader, Some(&store.images()), &[]).unwrap();
        let symbols =
            Attachment { kind: AttachmentKind::Symbols, name: "vmlinux".into(), bytes: b"symbols".to_vec() };
        let output = directory.path().join("packed.vkt");
        run(&PackConfig { reader, images, attachments: vec![symbols], output: output.clone(), notice: None })
            .unwrap();

        let packed = TraceReader::open(&output).unwrap();
        assert!(packed.is_packed());
        assert_eq!(gather_images(&packed, None, &[]).unwrap().iter().count(), 1);
        let names: Vec<String> = packed.embedded().unwrap().into_iter().map(|file| file.name).collect();
        assert!(names.contains(&"vmlinux".to_owned()), "{names:?}");
    }
}
