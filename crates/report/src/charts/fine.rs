//! Pixels of a chart, drawn twice as fine as the picture and averaged: lines keep their width
//! at every slope. Text is set here, because plotters leaves out the bearing of each letter.

use ab_glyph::{Font as _, FontRef, PxScale, ScaleFont as _, point};
use plotters::backend::BitMapBackend;
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind,
};

/// Pixels drawn per pixel of the picture, along one side.
const FINE: i32 = 2;
/// Height of a capital letter of the font over the size of the font (ascent and descent).
const CAPITAL: f32 = 0.627;
/// Height of a line of text over the size of the font, as plotters lays text out.
const LINE: f32 = 1.0 / 1.24;

type Drawn<E> = Result<(), DrawingErrorKind<E>>;

pub(super) struct FineBackend<'p> {
    inner: BitMapBackend<'p>,
    font: FontRef<'static>,
}

struct FineStyle {
    color: BackendColor,
    width: u32,
}

impl BackendStyle for FineStyle {
    fn color(&self) -> BackendColor {
        self.color
    }

    fn stroke_width(&self) -> u32 {
        self.width
    }
}

fn fine(style: &impl BackendStyle) -> FineStyle {
    FineStyle { color: style.color(), width: style.stroke_width() * FINE.unsigned_abs() }
}

/// The middle of a pixel.
fn middle((x, y): BackendCoord) -> BackendCoord {
    (x * FINE + FINE / 2, y * FINE + FINE / 2)
}

/// Bytes of the fine picture of `size` pixels, three a pixel.
pub(super) fn fine_bytes((width, height): (u32, u32)) -> usize {
    (width * FINE.unsigned_abs()) as usize * (height * FINE.unsigned_abs()) as usize * 3
}

/// The picture of `size`: each pixel the mean of its fine ones.
pub(super) fn averaged(fine: &[u8], (width, height): (u32, u32)) -> Vec<u8> {
    const SIDE: usize = FINE as usize;
    let bytes = width as usize * 3;
    let mut pixels = Vec::with_capacity(bytes * height as usize);
    let mut sums = vec![0_u16; bytes];
    for rows in fine.chunks_exact(SIDE * SIDE * bytes) {
        sums.fill(0);
        for row in rows.chunks_exact(SIDE * bytes) {
            for (sum, cell) in sums.chunks_exact_mut(3).zip(row.chunks_exact(SIDE * 3)) {
                for fine in cell.chunks_exact(3) {
                    for part in 0..3 {
                        sum[part] += u16::from(fine[part]);
                    }
                }
            }
        }
        pixels.extend(sums.iter().map(|sum| (sum / (SIDE * SIDE) as u16) as u8));
    }
    pixels
}

impl<'p> FineBackend<'p> {
    /// `pixels` has [`fine_bytes`] of `size`.
    pub(super) fn new(
        pixels: &'p mut [u8],
        (width, height): (u32, u32),
        font: FontRef<'static>,
    ) -> Self {
        let size = (width * FINE.unsigned_abs(), height * FINE.unsigned_abs());
        Self { inner: BitMapBackend::with_buffer(pixels, size), font }
    }
}

impl<'p> DrawingBackend for FineBackend<'p> {
    type ErrorType = <BitMapBackend<'p> as DrawingBackend>::ErrorType;

    fn get_size(&self) -> (u32, u32) {
        let (width, height) = self.inner.get_size();
        (width / FINE.unsigned_abs(), height / FINE.unsigned_abs())
    }

    fn ensure_prepared(&mut self) -> Drawn<Self::ErrorType> {
        self.inner.ensure_prepared()
    }

    fn present(&mut self) -> Drawn<Self::ErrorType> {
        self.inner.present()
    }

    fn draw_pixel(&mut self, at: BackendCoord, color: BackendColor) -> Drawn<Self::ErrorType> {
        self.draw_rect(at, at, &color, true)
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
    ) -> Drawn<Self::ErrorType> {
        self.draw_path([from, to], style)
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        (left, top): BackendCoord,
        (right, bottom): BackendCoord,
        style: &S,
        fill: bool,
    ) -> Drawn<Self::ErrorType> {
        if fill {
            let last = ((right + 1) * FINE - 1, (bottom + 1) * FINE - 1);
            return self.inner.draw_rect((left * FINE, top * FINE), last, &style.color(), true);
        }
        let corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)];
        self.draw_path(corners, style)
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Drawn<Self::ErrorType> {
        self.inner.draw_path(path.into_iter().map(middle), &fine(style))
    }

    fn draw_circle<S: BackendStyle>(
        &mut self,
        center: BackendCoord,
        radius: u32,
        style: &S,
        fill: bool,
    ) -> Drawn<Self::ErrorType> {
        let radius = radius * FINE.unsigned_abs();
        self.inner.draw_circle(middle(center), radius, &fine(style), fill)
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        corners: I,
        style: &S,
    ) -> Drawn<Self::ErrorType> {
        self.inner.fill_polygon(corners.into_iter().map(middle), &style.color())
    }

    fn draw_text<T: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &T,
        at: BackendCoord,
    ) -> Drawn<Self::ErrorType> {
        let size = style.size() as f32 * FINE as f32;
        let scaled = self.font.as_scaled(PxScale::from(size));
        let mut glyphs = Vec::new();
        let (mut width, mut before) = (0.0, None);
        for letter in text.chars() {
            let id = scaled.glyph_id(letter);
            width += before.map_or(0.0, |before| scaled.kern(before, id));
            glyphs.push(id.with_scale_and_position(size, point(width, 0.0)));
            width += scaled.h_advance(id);
            before = Some(id);
        }
        let left = match style.anchor().h_pos {
            HPos::Left => 0.0,
            HPos::Center => -width / 2.0,
            HPos::Right => -width,
        };
        let line = size * LINE;
        let top = match style.anchor().v_pos {
            VPos::Top => 0.0,
            VPos::Center => -line / 2.0,
            VPos::Bottom => -line,
        };
        let baseline = top + f32::midpoint(line, size * CAPITAL);
        let (turn, color, at) = (style.transform(), style.color(), middle(at));
        let mut drawn = Ok(());
        for outline in glyphs.into_iter().filter_map(|glyph| self.font.outline_glyph(glyph)) {
            let bounds = outline.px_bounds();
            let corner = ((left + bounds.min.x) as i32, (baseline + bounds.min.y) as i32);
            outline.draw(|x, y, cover| {
                let place = turn.transform(corner.0 + x.cast_signed(), corner.1 + y.cast_signed());
                let ink = color.mix(f64::from(cover.min(1.0)));
                if drawn.is_ok() {
                    drawn = self.inner.draw_pixel((at.0 + place.0, at.1 + place.1), ink);
                }
            });
        }
        drawn
    }
}

#[cfg(test)]
mod tests {
    use plotters::prelude::{IntoFont as _, WHITE};

    use super::*;

    #[test]
    fn a_pixel_is_the_mean_of_its_fine_ones() {
        let fine = [0, 10, 40, 4, 10, 40, 4, 10, 40, 0, 10, 44];
        assert_eq!(averaged(&fine, (1, 1)), [2, 10, 41]);
    }

    #[test]
    fn a_letter_keeps_the_space_before_it() {
        let font = FontRef::try_from_slice(dejavu::sans::regular()).expect("a font");
        let scaled = font.as_scaled(PxScale::from(40.0 * FINE as f32));
        let bearing = scaled.h_side_bearing(scaled.glyph_id('l'));
        assert!(bearing > 2.0, "the font has space before an l: {bearing}");
        let size = (60, 60);
        let mut pixels = vec![0; fine_bytes(size)];
        let mut backend = FineBackend::new(&mut pixels, size, font);
        let style = ("DejaVu Sans", 40).into_font().color(&WHITE);
        backend.draw_text("l", &style, (0, 0)).expect("drawn");
        drop(backend);
        let width = 60 * FINE as usize * 3;
        let columns =
            pixels.chunks_exact(width).filter_map(|row| row.iter().position(|ink| *ink > 0));
        let first = columns.min().expect("ink") / 3;
        assert!(first as f32 >= bearing.floor(), "ink from column {first}, bearing {bearing}");
    }
}
