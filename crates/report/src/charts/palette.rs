//! Colours that most readers can distinguish, on light and on dark ground.

pub(super) type Rgb = (u8, u8, u8);

/// Grey for the control, light grey for the A/A arm, then the arms under test.
const ARMS: [Rgb; 13] = [
    (120, 120, 120),
    (190, 190, 190),
    (31, 119, 180),
    (214, 96, 20),
    (27, 148, 107),
    (180, 70, 140),
    (70, 170, 215),
    (196, 150, 20),
    (115, 95, 190),
    (160, 75, 60),
    (90, 150, 60),
    (225, 120, 160),
    (40, 160, 170),
];

/// Colours of arms under test repeat after eleven.
pub(super) fn arm(place: usize) -> Rgb {
    if place < 2 { ARMS[place] } else { ARMS[2 + (place - 2) % (ARMS.len() - 2)] }
}

/// Ends and middle of the diverging scale: worse, none, better.
pub(super) const WORSE: Rgb = (202, 84, 40);
pub(super) const NEUTRAL: Rgb = (245, 245, 245);
pub(super) const BETTER: Rgb = (38, 110, 175);

pub(super) fn diverging(gain: f64, reach: f64) -> Rgb {
    let share = (gain / reach).clamp(-1.0, 1.0);
    let end = if share < 0.0 { WORSE } else { BETTER };
    let mix = |from: u8, to: u8| {
        (f64::from(from) + (f64::from(to) - f64::from(from)) * share.abs()).round() as u8
    };
    (mix(NEUTRAL.0, end.0), mix(NEUTRAL.1, end.1), mix(NEUTRAL.2, end.2))
}

pub(super) fn css((red, green, blue): Rgb) -> String {
    format!("rgb({red}, {green}, {blue})")
}

/// Whether white text reads better than black (WCAG relative luminance, linearised by a square).
pub(super) fn wants_white_text((red, green, blue): Rgb) -> bool {
    let part = |value: u8| (f64::from(value) / 255.0) * (f64::from(value) / 255.0);
    0.2126 * part(red) + 0.7152 * part(green) + 0.0722 * part(blue) < 0.25
}
