//! A cluster that changes all the time: what it costs in memory.

use std::process::Child;
use std::time::{Duration, Instant};

use crate::PACE;
use crate::api_server::ApiServer;
use crate::objects::{NAMESPACE, addresses, ingress, service, slice};
use crate::probe::{cpu_ms, memory_mib};

/// For so long: a hundred endpoints change each second, one Ingress does, and of the last hundred services one goes or comes back.
pub fn churn(name: &str, process: &Child, (api, count): (&ApiServer, usize), time: Duration) {
    let (began, mut told) = (Instant::now(), Instant::now());
    let (mut cpu, mut most, mut changes) = (cpu_ms(process), 0, 0_usize);
    while began.elapsed() < time {
        let turn = Instant::now();
        let at = changes * 7 % (count - 101);
        slice(api, at, &addresses(changes % count, 5 + changes % 10), 8080);
        if changes.is_multiple_of(100) {
            ingress(api, at, if changes.is_multiple_of(200) { "/a" } else { "/b" });
            let other = count - 101 + changes / 100 % 100;
            if changes / 10_000 % 2 == 0 {
                for (plural, name) in [("ingresses", "i"), ("services", "s")] {
                    let _ = api.store.delete(plural, NAMESPACE, &format!("{name}{other}"));
                }
            } else {
                service(api, other);
                ingress(api, other, "/");
                slice(api, other, &addresses(other, 10), 8080);
            }
        }
        changes += 1;
        if told.elapsed() > Duration::from_mins(1) {
            let now = cpu_ms(process);
            let minutes = began.elapsed().as_secs() / 60;
            let share = (now - cpu) / told.elapsed().as_secs_f64() / 10.0;
            (cpu, told) = (now, Instant::now());
            most = most.max(memory_mib(process));
            println!("{name}: {minutes} min, {changes} changes: {} MiB, {share:.1} % of a CPU", memory_mib(process));
        }
        std::thread::sleep(PACE.saturating_sub(turn.elapsed()));
    }
    println!("{name}: after {changes} changes {} MiB, at most {most}", memory_mib(process));
}
