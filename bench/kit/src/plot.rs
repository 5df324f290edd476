//! Plots as SVG.

use plotters::prelude::*;

use crate::{Plot, Table};

const SIZE: (u32, u32) = (820, 420);
/// The height of one bar, with what is left free below it.
const BAR: u32 = 30;
/// So many letters fit beside the bars.
const NAMES: u32 = 330;

type Drawn = Result<String, Box<dyn std::error::Error + Send + Sync>>;

/// Lines over a common axis.
pub(crate) fn lines(plot: &Plot) -> Drawn {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE).map_err(text)?;
        let points = || plot.lines.iter().flat_map(|line| &line.points);
        let (left, right) = range(points().map(|point| point.0));
        let (_, top) = range(points().map(|point| point.1));
        let mut chart = ChartBuilder::on(&root)
            .caption(&plot.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(70)
            .build_cartesian_2d(left..right, 0.0..top * 1.05)
            .map_err(text)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_desc(&plot.x)
            .y_desc(&plot.y)
            .draw()
            .map_err(text)?;
        for (number, line) in plot.lines.iter().enumerate() {
            let color = Palette99::pick(number).to_rgba();
            let points = line.points.iter().copied();
            chart
                .draw_series(LineSeries::new(points, color.stroke_width(2)))
                .map_err(text)?
                .label(&line.name)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2))
                });
        }
        chart
            .configure_series_labels()
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()
            .map_err(text)?;
        root.present().map_err(text)?;
    }
    Ok(svg)
}

/// A column of a table: a bar for each row that has it.
pub(crate) fn bars(table: &Table, column: &str) -> Drawn {
    let rows = table.rows.iter().filter_map(|row| Some((&row.name, *row.cells.get(column)?)));
    let rows: Vec<(&String, f64)> = rows.collect();
    let height = 60 + BAR * u32::try_from(rows.len())?;
    let most = rows.iter().map(|row| row.1).fold(f64::MIN_POSITIVE, f64::max);
    let room = f64::from(SIZE.0 - NAMES - 90);
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (SIZE.0, height)).into_drawing_area();
        root.fill(&WHITE).map_err(text)?;
        let title = format!("{}, {column}", table.title);
        root.draw(&Text::new(title, (12, 14), ("sans-serif", 17).into_font())).map_err(text)?;
        for (number, (name, value)) in rows.into_iter().enumerate() {
            let y = 48 + i32::try_from(number)? * BAR as i32;
            let left = NAMES as i32;
            let right = left + (room * value / most).max(1.0) as i32;
            let color = Palette99::pick(0).to_rgba();
            let bar = Rectangle::new([(left, y), (right, y + BAR as i32 - 10)], color.filled());
            root.draw(&bar).map_err(text)?;
            let font = ("sans-serif", 14).into_font();
            root.draw(&Text::new(name.as_str(), (12, y + 3), font.clone())).map_err(text)?;
            let shown = crate::markdown::shown(Some(value));
            root.draw(&Text::new(shown, (right + 6, y + 3), font)).map_err(text)?;
        }
        root.present().map_err(text)?;
    }
    Ok(svg)
}

/// From the least to the most; never empty.
fn range(numbers: impl Iterator<Item = f64>) -> (f64, f64) {
    let numbers = numbers.filter(|number| number.is_finite());
    let (least, most) = numbers
        .fold((f64::MAX, f64::MIN), |(least, most), number| (least.min(number), most.max(number)));
    if least < most { (least, most) } else { (0.0, most.max(1.0)) }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
