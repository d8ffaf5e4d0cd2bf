//! The micro-benchmarks: times and allocations of single units of work. `hack/bench micro` starts it.

use divan::{AllocProfiler, Bencher, black_box};
use trimtab::micro::units;

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

fn names() -> impl Iterator<Item = &'static str> {
    units().into_iter().map(|unit| unit.name)
}

#[divan::bench(args = names())]
fn unit(bencher: Bencher<'_, '_>, name: &str) {
    let units = units();
    let unit = units.iter().find(|unit| unit.name == name);
    if let Some(unit) = unit {
        bencher.bench_local(|| black_box((unit.work)()));
    }
}
