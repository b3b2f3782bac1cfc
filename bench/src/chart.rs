//! Charts: one bar for each peer.

use crate::metric::Metric;
use crate::report::Found;
use crate::subject::Kind;
use plotters::coord::Shift;
use plotters::prelude::{
    BLACK, Color, DrawingArea, EmptyElement, IntoDrawingArea, IntoFont, RGBColor, Rectangle,
    SVGBackend, Text, WHITE,
};
use std::fs;
use std::path::Path;

const WIDTH: u32 = 720;
const ROW: u32 = 20;
const TOP: u32 = 56;
/// Where the bars begin and end.
const BARS: (i32, i32) = (130, 560);
const FONT: &str = "sans-serif";

/// Draws a telling case into a directory, below the line that says where it was measured.
pub(crate) fn draw(found: &Found, scene: &str, directory: &Path) -> Result<(), String> {
    let bars = bars(found);
    let Some(longest) = bars.iter().map(|bar| bar.value).reduce(f64::max) else {
        return Ok(());
    };
    fs::create_dir_all(directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    let file = directory.join(format!("{}.svg", found.case.workload));
    let rows = u32::try_from(bars.len()).map_err(|e| e.to_string())?;
    let area = SVGBackend::new(&file, (WIDTH, TOP + ROW * rows + ROW)).into_drawing_area();
    let drawn = area.fill(&WHITE).and_then(|()| {
        text(
            &area,
            &format!("{}: {}", found.case.title(), bars[0].metric.title),
            (12, 10),
            16,
        )?;
        text(&area, scene, (12, 32), 11)?;
        bars.iter().zip(0i32..).try_for_each(|(bar, row)| {
            bar.draw(
                &area,
                longest,
                i32::try_from(TOP + ROW).unwrap_or(0) - 20 + row * 20,
            )
        })?;
        area.present()
    });
    drawn.map_err(|e| format!("{}: {e}", file.display()))
}

struct Bar {
    name: &'static str,
    kind: Kind,
    metric: &'static Metric,
    value: f64,
}

fn bars(found: &Found) -> Vec<Bar> {
    let metric = Metric::named(found.case.metrics[0]);
    let bar = |series: &crate::measure::Series| {
        Some(Bar {
            name: series.subject.name,
            kind: series.subject.kind,
            metric,
            value: series.spread(metric.name)?.median,
        })
    };
    let mut bars: Vec<Bar> = found
        .series
        .iter()
        .filter(|series| !series.again)
        .filter_map(bar)
        .collect();
    bars.sort_by(|a, b| a.value.total_cmp(&b.value));
    bars
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn<'a> = Result<(), plotters::drawing::DrawingAreaErrorKind<std::io::Error>>;

impl Bar {
    fn draw<'a>(&self, area: &Area<'a>, longest: f64, top: i32) -> Drawn<'a> {
        let color = match self.kind {
            Kind::ByHand => RGBColor(150, 150, 150),
            Kind::Ours => RGBColor(30, 110, 200),
            Kind::Peer => RGBColor(225, 150, 60),
        };
        #[expect(clippy::cast_possible_truncation, reason = "pixels")]
        let length = (f64::from(BARS.1 - BARS.0) * self.value / longest) as i32;
        let end = BARS.0 + length.max(1);
        area.draw(&Rectangle::new(
            [(BARS.0, top), (end, top + 14)],
            color.filled(),
        ))?;
        text(area, self.name, (12, top), 13)?;
        text(area, &self.metric.show(self.value), (end + 6, top), 13)
    }
}

fn text<'a>(area: &Area<'a>, text: &str, place: (i32, i32), size: u32) -> Drawn<'a> {
    let style = (FONT, size).into_font().color(&BLACK);
    area.draw(&(EmptyElement::at(place) + Text::new(text.to_owned(), (0, 0), style)))
}
