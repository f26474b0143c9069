//! Decompression of bodies.

use std::io::Read;

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// Cut at `most` bytes. None: the coding is unsupported (`br`), or the body invalid.
pub fn decoded(coding: &str, body: &[u8], most: usize) -> Option<Vec<u8>> {
    match coding.to_ascii_lowercase().as_str() {
        "gzip" | "x-gzip" => read(MultiGzDecoder::new(body), most),
        // RFC 9110 requires the zlib header, which some servers omit.
        "deflate" => {
            read(ZlibDecoder::new(body), most).or_else(|| read(DeflateDecoder::new(body), most))
        }
        "zstd" => read(zstd::Decoder::new(body).ok()?, most),
        _ => None,
    }
}

fn read(decoder: impl Read, most: usize) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    decoder.take(most as u64).read_to_end(&mut plain).ok()?;
    Some(plain)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::decoded;

    const TEXT: &[u8] = b"{\"error\":{\"message\":\"the model is gone\"}}";

    #[test]
    fn every_known_coding_gives_the_text_back() {
        let level = Compression::default();
        let mut gzip = GzEncoder::new(Vec::new(), level);
        gzip.write_all(TEXT).unwrap();
        let mut zlib = ZlibEncoder::new(Vec::new(), level);
        zlib.write_all(TEXT).unwrap();
        let mut bare = DeflateEncoder::new(Vec::new(), level);
        bare.write_all(TEXT).unwrap();
        let bodies = [
            ("gzip", gzip.finish().unwrap()),
            ("deflate", zlib.finish().unwrap()),
            ("Deflate", bare.finish().unwrap()),
            ("zstd", zstd::encode_all(TEXT, 0).unwrap()),
        ];
        for (coding, body) in bodies {
            assert_eq!(decoded(coding, &body, 1000).as_deref(), Some(TEXT), "{coding}");
            assert_eq!(decoded(coding, &body, 8).as_deref(), Some(&TEXT[..8]), "{coding}");
            assert_eq!(decoded(coding, b"plain text", 1000), None, "{coding}");
        }
        assert_eq!(decoded("br", TEXT, 1000), None);
    }
}
