//! The charts: one for each thing that was measured in a workload, a group of bars for each piece of work, a bar for each contestant.
//! Scales are logarithmic: contestants are orders of magnitude apart.

use std::path::Path;

use plotters::coord::combinators::IntoLogRange as _;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::distinct;
use crate::Failure;
use crate::figure::Figure;

/// Pixels.
const HEIGHT: u32 = 520;
const BAR: u32 = 22;
const FRAME: u32 = 480;

/// The part of a group that its bars fill.
const FILLED: f64 = 0.85;

/// Draws all of them; gives how many.
pub(super) fn draw(dir: &Path, figures: &[Figure]) -> Result<usize, Failure> {
    let mut count = 0;
    for workload in distinct(figures.iter().map(|figure| &*figure.workload)) {
        let of_workload: Vec<_> = figures.iter().filter(|figure| figure.workload == workload).collect();
        for name in distinct(of_workload.iter().map(|figure| &*figure.name)) {
            let shown: Vec<_> = of_workload.iter().copied().filter(|figure| figure.name == name).collect();
            // A logarithmic scale has no zero.
            if shown.iter().any(|figure| figure.spread.low <= 0.0) {
                continue;
            }
            let file = dir.join(format!("{}.svg", file_name(&format!("{workload} {name}"))));
            chart(&file, &format!("{workload}: {name}"), &shown)
                .map_err(|error| format!("{}: {error}", file.display()))?;
            count += 1;
        }
    }
    Ok(count)
}

/// Letters, digits and hyphens only.
fn file_name(title: &str) -> String {
    let words = title.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_lowercase()
}

fn chart(file: &Path, title: &str, figures: &[&Figure]) -> Result<(), Failure> {
    let cases = distinct(figures.iter().map(|figure| &*figure.case));
    let contestants = distinct(figures.iter().map(|figure| &*figure.contestant));
    let unit = figures[0].unit;
    let values = || figures.iter().flat_map(|figure| [figure.spread.low, figure.spread.high]);
    let (low, high) = (values().fold(f64::MAX, f64::min) / 2.0, values().fold(0.0, f64::max) * 1.5);
    let bars = u32::try_from(cases.len() * contestants.len())?;
    let area = SVGBackend::new(file, (FRAME + bars * BAR, HEIGHT)).into_drawing_area();
    let failed = |error: &dyn std::fmt::Display| Failure::from(error.to_string());
    area.fill(&WHITE).map_err(|error| failed(&error))?;
    let groups = f64::from(u32::try_from(cases.len())?);
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(100)
        .right_y_label_area_size(230)
        .build_cartesian_2d(0.0..groups, (low..high).log_scale())
        .map_err(|error| failed(&error))?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .disable_x_axis()
        .y_label_formatter(&|value| unit.show(*value))
        .draw()
        .map_err(|error| failed(&error))?;
    let width = FILLED / f64::from(u32::try_from(contestants.len())?);
    for (place, contestant) in (0_u32..).zip(&contestants) {
        let colour = Palette99::pick(place as usize).to_rgba();
        for (group, case) in (0_u32..).zip(&cases) {
            let Some(figure) = figures.iter().find(|it| it.case == *case && it.contestant == *contestant)
            else {
                continue;
            };
            let left = f64::from(group) + (1.0 - FILLED) / 2.0 + f64::from(place) * width;
            let middle = left + width / 2.0;
            let spread = figure.spread;
            let bar = Rectangle::new([(left, low), (left + width * 0.9, spread.median)], colour.filled());
            let quarters =
                PathElement::new([(middle, spread.low), (middle, spread.high)], BLACK.stroke_width(1));
            chart.draw_series([bar]).map_err(|error| failed(&error))?;
            chart.draw_series([quarters]).map_err(|error| failed(&error))?;
        }
        // To the right of everything.
        let (right, top) = chart.backend_coord(&(groups, high));
        let y = top + 20 * i32::try_from(place)?;
        let sample = Rectangle::new([(right + 12, y), (right + 24, y + 12)], colour.filled());
        area.draw(&sample).map_err(|error| failed(&error))?;
        let name = Text::new((*contestant).to_owned(), (right + 30, y), ("sans-serif", 13));
        area.draw(&name).map_err(|error| failed(&error))?;
    }
    let centred = TextStyle::from(("sans-serif", 12)).pos(Pos::new(HPos::Center, VPos::Top));
    for (group, case) in (0_u32..).zip(&cases) {
        let (x, y) = chart.backend_coord(&(f64::from(group) + 0.5, low));
        let name = Text::new((*case).to_owned(), (x, y + 8), centred.clone());
        area.draw(&name).map_err(|error| failed(&error))?;
    }
    area.present().map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_plain_names() {
        assert_eq!(file_name("latency to a consumer at 10 %, p99.9"), "latency-to-a-consumer-at-10-p99-9");
    }
}
