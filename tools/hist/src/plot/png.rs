//! The picture in pixels. Its letters come with the program, so it needs no fonts of the system.

use std::sync::Arc;

use epaint_default_fonts::UBUNTU_LIGHT;
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree};

use crate::error::Error;

/// Pixels for each point of the picture: as sharp as screens are now.
const PIXELS: f32 = 2.0;

/// Makes a PNG of a picture. Letters that our font hasn't are taken from the system's, if it has
/// any.
///
/// # Errors
/// The picture can't be drawn, which would be our mistake.
pub fn render(svg: &str) -> Result<Vec<u8>, Error> {
    let mut options = Options::default();
    let fonts = Arc::make_mut(&mut options.fontdb);
    fonts.load_font_data(UBUNTU_LIGHT.to_vec());
    let ours = fonts.faces().next().and_then(|face| face.families.first());
    let family = ours.map(|(name, _)| name.clone()).unwrap_or_default();
    fonts.set_sans_serif_family(&family);
    options.font_family = family.clone();
    // The names in the picture are those of the reader's system. Here there is but ours.
    let svg = svg.replace("system-ui, 'Segoe UI', Helvetica, Arial, sans-serif", &family);
    if !svg.is_ascii() {
        fonts.load_system_fonts();
    }
    let drawing = |error: String| Error::Drawing(error);
    let tree = Tree::from_str(&svg, &options).map_err(|error| drawing(error.to_string()))?;
    let size = tree.size().to_int_size().scale_by(PIXELS);
    let size = size.ok_or_else(|| drawing("it has no size".to_string()))?;
    let pixels = Pixmap::new(size.width(), size.height());
    let mut pixels = pixels.ok_or_else(|| drawing("it is too large".to_string()))?;
    resvg::render(&tree, Transform::from_scale(PIXELS, PIXELS), &mut pixels.as_mut());
    pixels.encode_png().map_err(|error| drawing(error.to_string()))
}
