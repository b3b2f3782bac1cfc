//! Tables for people, and JSON for programs.

use crate::callgrind::Count;
use crate::calls::{self, Calls};
use crate::echo::REQUEST_BYTES;
use crate::measure::{AGAIN, Run, Series, Spread};
use std::fs;
use std::io;

/// The series of one size of a workload; the reference is the first.
pub(crate) struct Group {
    pub(crate) size: u64,
    pub(crate) series: Vec<Series>,
}

impl Group {
    /// The name of one of its series.
    fn name(&self, series: &Series) -> String {
        match series.peer {
            AGAIN => format!("{}, {AGAIN}", self.series[0].peer),
            peer => peer.to_owned(),
        }
    }
}

/// Everything that was measured.
#[derive(Default)]
pub(crate) struct Report {
    /// JSON objects.
    objects: Vec<String>,
}

impl Report {
    /// Prints a workload's times.
    pub(crate) fn times(
        &mut self,
        workload: &str,
        size: &'static str,
        groups: &[Group],
        not_shown: &str,
    ) {
        let echo = workload == "echo";
        let reference = groups.first().map_or("", |group| group.series[0].peer);
        let ratio = format!("× {reference}");
        let mut table = Table::new(&[size, "peer", "CPU ns per op", "ops/s", &ratio, ""]);
        if echo {
            table.head.insert(5, "enters per op".to_owned());
            table.head.insert(6, "busy".to_owned());
        }
        for group in groups {
            let again = group.series.get(1).map(|again| again.ratios.clone());
            let noise = again.and_then(Spread::trimmed);
            for series in &group.series {
                table.push(time_row(group, series, noise, echo));
                self.time_objects(workload, &params(workload, size, group.size), series, group);
            }
        }
        println!("\n{workload}: CPU time of the measured thread, median [min–max].");
        println!("{ratio}: by its runs just before and just after. A tie: the median lies in the");
        println!(
            "noise ({reference} against itself), or the range includes 1; from five rounds on,"
        );
        println!("both ranges without their extremes.\n");
        table.print();
        println!("\n{not_shown}\n");
    }

    /// Prints what a `Remote` costs, by the driver alone. The reference of a group is its first.
    pub(crate) fn remote(&mut self, backend: &str, work: &str, groups: &[Group]) {
        let mut table = Table::new(&[
            "in flight per client",
            "peer",
            "CPU ns per op",
            "wall ns per op",
            "CPU × alone",
            "",
        ]);
        for group in groups {
            let again = group.series.get(1).map(|again| again.ratios.clone());
            let noise = again.and_then(Spread::trimmed);
            for series in &group.series {
                table.push(remote_row(group, series, noise));
                let workload = format!("remote, {work}, {backend}");
                let params = params("remote", "in_flight", group.size);
                self.time_objects(&workload, &params, series, group);
            }
        }
        println!("\nremote, {backend}, {work}: CPU time of all threads, median [min–max].");
        println!("× alone: by the runs of the driver alone just before and just after.\n");
        table.print();
        println!();
    }

    /// Prints a workload's instructions.
    pub(crate) fn counts(
        &mut self,
        workload: &str,
        size: &'static str,
        counts: &[(u64, &'static str, Result<Count, String>)],
    ) {
        let mut table = Table::new(&[
            size,
            "peer",
            "instructions per op",
            "× raw",
            "ops per enter",
        ]);
        let mut raw = None;
        for (size_value, peer, count) in counts {
            let mut row = vec![size_value.to_string(), (*peer).to_owned()];
            match count {
                Ok(Count {
                    instructions,
                    ops_per_enter,
                }) => {
                    if *peer == "raw" {
                        raw = Some(instructions.median);
                    }
                    let ratio = raw.map(|raw| instructions.median / raw);
                    row.push(spread(instructions, 1));
                    row.push(ratio.map_or(String::new(), |ratio| format!("{ratio:.2}")));
                    row.push(ops_per_enter.map_or(String::new(), |ops| format!("{ops:.1}")));
                    self.object(
                        workload,
                        &params(workload, size, *size_value),
                        peer,
                        ("user_instructions_per_op", "instructions"),
                        instructions,
                        ratio,
                        1,
                    );
                }
                Err(reason) => row.push(format!("skipped: {reason}")),
            }
            table.push(row);
        }
        println!("\n{workload}: instructions in user space, by callgrind\n");
        table.print();
        println!(
            "\nIt does not show time: the kernel's share, cache misses and the price of a system \
             call are no instructions of ours.\n"
        );
    }

    /// Prints how many system calls the echo servers make.
    pub(crate) fn calls(&mut self, counts: &[(u64, &'static str, Result<Calls, String>)]) {
        let mut head = vec!["connections", "peer"];
        head.extend(calls::NAMES);
        let last = head.len() - 1;
        head[last] = "all";
        head.push("epoll_ctl in all");
        let mut table = Table::new(&head);
        for (connections, peer, calls) in counts {
            let mut row = vec![connections.to_string(), (*peer).to_owned()];
            match calls {
                Ok(calls) => {
                    let kinds = calls.per_op.iter().take(calls::NAMES.len() - 1);
                    let per_op = kinds.chain([&calls.all_per_op]);
                    row.extend(per_op.map(|calls| format!("{calls:.3}")));
                    row.push(calls.epoll_ctl.to_string());
                }
                Err(reason) => row.push(format!("skipped: {reason}")),
            }
            table.push(row);
        }
        println!("\necho: system calls of the server's thread for each request, by perf\n");
        table.print();
        println!(
            "\nIt does not show what the calls cost, and the batches of more than one connection \
             are those of a machine at rest, of a server that is as fast as it can be.\n"
        );
    }

    fn time_objects(&mut self, workload: &str, params: &str, series: &Series, group: &Group) {
        type Metric = (&'static str, &'static str, fn(&Run) -> Option<f64>);
        const METRICS: [Metric; 4] = [
            ("cpu_ns_per_op", "ns", |run| Some(run.cpu_ns_per_op())),
            ("ops_per_s", "1/s", |run| Some(run.ops_per_s())),
            ("busy", "1", |run| Some(run.busy())),
            ("enters_per_op", "1", |run| run.enters_per_op),
        ];
        let peer = group.name(series);
        for (metric, unit, of) in METRICS {
            let Some(numbers) = Spread::of(series.runs.iter().filter_map(of)) else {
                continue;
            };
            let ratio = match metric {
                "cpu_ns_per_op" if !series.ratios.is_empty() => {
                    Spread::of(series.ratios.clone()).map(|ratios| ratios.median)
                }
                _ => Spread::of(group.series[0].runs.iter().filter_map(of))
                    .map(|reference| numbers.median / reference.median),
            };
            let name = (metric, unit);
            self.object(
                workload,
                params,
                &peer,
                name,
                &numbers,
                ratio,
                series.runs.len(),
            );
        }
    }

    #[expect(clippy::too_many_arguments, reason = "an object's fields")]
    fn object(
        &mut self,
        workload: &str,
        params: &str,
        peer: &str,
        (metric, unit): (&str, &str),
        numbers: &Spread,
        ratio: Option<f64>,
        runs: usize,
    ) {
        let Spread { median, min, max } = numbers;
        let ratio = ratio.map_or("null".to_owned(), |ratio| format!("{ratio:.4}"));
        // No name here needs escaping.
        self.objects.push(format!(
            "{{\"workload\": \"{workload}\", \"params\": {params}, \"peer\": \"{peer}\", \
             \"metric\": \"{metric}\", \"unit\": \"{unit}\", \"median\": {median:.4}, \
             \"min\": {min:.4}, \"max\": {max:.4}, \"ratio_to_raw\": {ratio}, \"runs\": {runs}}}"
        ));
    }

    pub(crate) fn write_json(&self, file: &str) -> io::Result<()> {
        fs::write(file, format!("[\n{}\n]\n", self.objects.join(",\n")))
    }
}

fn params(workload: &str, size: &str, value: u64) -> String {
    match workload {
        "echo" => format!("{{\"{size}\": {value}, \"bytes\": {REQUEST_BYTES}}}"),
        _ => format!("{{\"{size}\": {value}}}"),
    }
}

fn time_row(group: &Group, series: &Series, noise: Option<Spread>, echo: bool) -> Vec<String> {
    let mut row = vec![group.size.to_string(), group.name(series)];
    let cpu = Spread::of(series.runs.iter().map(Run::cpu_ns_per_op));
    let ops = Spread::of(series.runs.iter().map(Run::ops_per_s));
    let (Some(cpu), Some(ops)) = (cpu, ops) else {
        row.push(format!(
            "skipped: {}",
            series.skipped.as_deref().unwrap_or("no runs")
        ));
        return row;
    };
    row.push(spread(&cpu, if echo { 0 } else { 1 }));
    row.push(format!("{:.0} k", ops.median / 1e3));
    let ratio = Spread::of(series.ratios.clone());
    row.push(ratio.map_or("1".to_owned(), |ratio| spread(&ratio, 2)));
    if echo {
        let enters = Spread::of(series.runs.iter().filter_map(|run| run.enters_per_op));
        row.push(enters.map_or(String::new(), |enters| format!("{:.3}", enters.median)));
        let busy = Spread::of(series.runs.iter().map(Run::busy));
        row.push(busy.map_or(String::new(), |busy| {
            format!("{:.0} %", busy.median * 100.0)
        }));
    }
    row.push(match (Spread::trimmed(series.ratios.clone()), noise) {
        (_, Some(noise)) if series.peer == AGAIN => {
            format!("noise {:.2}–{:.2}", noise.min, noise.max)
        }
        (Some(ratio), Some(noise)) => verdict(ratio, noise),
        _ => String::new(),
    });
    row
}

fn remote_row(group: &Group, series: &Series, noise: Option<Spread>) -> Vec<String> {
    let is_reference = series.peer == AGAIN;
    let mut row = vec![group.size.to_string(), group.name(series)];
    let cpu = Spread::of(series.runs.iter().map(Run::cpu_ns_per_op));
    let wall = Spread::of(series.runs.iter().map(|run| 1e9 / run.ops_per_s()));
    let (Some(cpu), Some(wall)) = (cpu, wall) else {
        let reason = series.skipped.as_deref().unwrap_or("no runs");
        row.push(format!("skipped: {reason}"));
        return row;
    };
    row.push(spread(&cpu, 0));
    row.push(spread(&wall, 0));
    let ratio = Spread::of(series.ratios.clone());
    row.push(ratio.map_or("1".to_owned(), |ratio| spread(&ratio, 2)));
    if let Some(noise) = noise.filter(|_| is_reference) {
        row.push(format!("noise {:.2}–{:.2}", noise.min, noise.max));
    }
    row
}

/// The peer's ratio, and that of the reference against itself.
fn verdict(ratio: Spread, noise: Spread) -> String {
    let percent = (ratio.median - 1.0) * 100.0;
    if noise.contains(ratio.median) || ratio.contains(1.0) {
        "a tie".to_owned()
    } else if percent > 0.0 {
        format!("costs {percent:.0} % more")
    } else {
        format!("costs {:.0} % less", -percent)
    }
}

/// "12.3 [12.0–13.1]", or one number when there is only one.
fn spread(numbers: &Spread, digits: usize) -> String {
    let Spread { median, min, max } = numbers;
    if min == max {
        format!("{median:.digits$}")
    } else {
        format!("{median:.digits$} [{min:.digits$}–{max:.digits$}]")
    }
}

/// A table of Markdown, its columns aligned.
struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn new(head: &[&str]) -> Self {
        Self {
            head: head.iter().map(|name| (*name).to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    fn print(&self) {
        let all = std::iter::once(&self.head).chain(&self.rows);
        let cells = all.map(|row| row.iter().map(String::as_str).collect());
        let rows: Vec<Vec<&str>> = cells.collect();
        let columns = self.head.len();
        let width = |i: usize| {
            // A reason for skipping is longer than any column, and the last of its row.
            let cells = rows.iter().filter_map(|row| row.get(i));
            cells
                .filter(|c| !c.starts_with("skipped"))
                .map(|c| c.chars().count())
                .max()
        };
        let widths: Vec<usize> = (0..columns).map(|i| width(i).unwrap_or(0)).collect();
        for (i, row) in rows.iter().enumerate() {
            let cells = widths.iter().enumerate().map(|(column, width)| {
                let cell = row.get(column).copied().unwrap_or("");
                format!(" {cell:width$} |")
            });
            println!("|{}", cells.collect::<String>());
            if i == 0 {
                let rules = widths
                    .iter()
                    .map(|width| format!("{:-<1$}|", "", width + 2));
                println!("|{}", rules.collect::<String>());
            }
        }
    }
}
