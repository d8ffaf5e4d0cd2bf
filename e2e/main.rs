//! The end-to-end stories: the real agent against a real control plane and a real Git server.

#![expect(
    dead_code,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "tests say what they expect, the lab starts programs, and the stories use a part of it"
)]

mod fenced;
mod fuzz;
mod given;
mod lab;

mod about;
mod accepted;
mod access;
mod acting;
mod adoption;
mod asking;
mod bad_input;
mod chart;
mod clearing;
mod cli;
mod control;
mod counts;
mod crowds;
mod deletion;
mod deliveries;
mod drift;
mod entries;
mod faults;
mod forges;
mod handing;
mod hooks;
mod hostile;
mod ignoring;
mod installation;
mod jobs;
mod large;
mod least;
mod limits;
mod looking;
mod moving;
mod namespaces;
mod needs;
mod oidc;
mod options;
mod pages;
mod people;
mod pipelines;
mod projects;
mod prune;
mod push;
mod rates;
mod reach;
mod rendering;
mod repairs;
mod restart;
mod rights;
mod rollback;
mod scale;
mod setback;
mod shapes;
mod sharing;
mod steady;
mod stored;
mod streams;
mod terminal;
mod values;
mod waves;
mod words;
