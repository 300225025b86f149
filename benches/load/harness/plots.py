"""The plots, as SVG files."""
import statistics


def draw(folder, data, peers):
    """Draws all plots that the data has; says what is missing where matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        return "matplotlib is not installed, so no plots were drawn: benches/load/install.sh installs it"
    matplotlib.use("svg")
    # The same data makes the same file.
    matplotlib.rcParams.update({"svg.hashsalt": "ringress", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    from matplotlib import pyplot

    names = {peer.key: peer.name for peer in peers}
    folder.mkdir(parents=True, exist_ok=True)

    def save(figure, name):
        figure.tight_layout()
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
        pyplot.close(figure)

    if data.get("table"):
        rows = data["table"]
        figure, axes = pyplot.subplots((len(rows) + 1) // 2, 2, figsize=(11, 1.9 * ((len(rows) + 1) // 2)))
        for axis, row in zip(axes.flat, rows):
            found = {key: [outcome["cpu_us"] for outcome in outcomes] for key, outcomes in row["results"].items()
                     if isinstance(outcomes, list) and outcomes}
            keys = sorted(found, key=lambda key: statistics.median(found[key]))
            middle = [statistics.median(found[key]) for key in keys]
            low = [value - min(found[key]) for key, value in zip(keys, middle)]
            high = [max(found[key]) - value for key, value in zip(keys, middle)]
            colours = ["#c0392b" if key == "ringress" else "#bdc3c7" if "relay" in key else "#5d6d7e" for key in keys]
            axis.barh([names[key] for key in keys], middle, xerr=[low, high], color=colours, height=0.7,
                      error_kw={"elinewidth": 0.8})
            axis.invert_yaxis()
            axis.set_title(row["title"], fontsize=9, loc="left")
            axis.tick_params(labelsize=7)
        for axis in list(axes.flat)[len(rows):]:
            axis.set_visible(False)
        axes.flat[0].set_xlabel("CPU µs for a request: median, least and most of the rounds", fontsize=7)
        save(figure, "workloads")

    for key, label in [("connections", "connections"), ("routes", "routes"), ("bodies", "bytes of the response")]:
        points = data.get("curves", {}).get(key)
        if not points:
            continue
        figure, axis = pyplot.subplots(figsize=(5.5, 3.4))
        for name, values in points.items():
            axis.plot([x for x, _ in values], [y for _, y in values], marker="o", markersize=3, label=name)
        axis.set_xscale("log")
        if key == "bodies":
            axis.set_yscale("log")
        else:
            axis.set_ylim(bottom=0)
        axis.set_xlabel(label)
        axis.set_ylabel("CPU µs for a request")
        axis.legend(frameon=False)
        save(figure, f"cost_by_{key}")

    curve = data.get("latency_curve")
    if curve:
        figure, axis = pyplot.subplots(figsize=(5.5, 3.4))
        for name, values in curve.items():
            line, = axis.plot([x for x, _, _ in values], [y for _, y, _ in values], marker="o", markersize=3, label=f"{name}, p99")
            axis.plot([x for x, _, _ in values], [y for _, _, y in values], linestyle=":", color=line.get_color(), label=f"{name}, p99.9")
        axis.set_yscale("log")
        axis.set_xlabel("requests per second")
        axis.set_ylabel("latency, µs")
        axis.legend(frameon=False, fontsize=7)
        save(figure, "latency")
    return None
