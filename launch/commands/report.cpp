#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "ablation/report/report.h"
#include "base/atomic_file.h"
#include "launch/commands.h"
#include "launch/output.h"
#include "launch/stop_signal.h"

namespace braid {
namespace {

using report::ReportFormat;

struct ReportArguments {
    std::vector<std::string> paths;
    std::string output, format;
    bool follow = false;
    int64_t every = 5;
};

/// As --format says, else as the name of the output ends.
std::string format_of(const ReportArguments& arguments) {
    if (!arguments.format.empty()) return arguments.format;
    for (const std::string format : {"md", "csv", "tex", "png", "svg"})
        if (arguments.output.ends_with("." + format)) return format;
    return "html";
}

void write(const report::Report& report, const ReportArguments& arguments, const std::string& format,
           bool follow) {
    if (format == "png" || format == "svg") {
        report::draw_losses(report::to_json(report), format == "png" ? ReportFormat::png : ReportFormat::svg,
                            arguments.output);
        return;
    }
    const std::string text = format == "html"  ? report::to_html(report, follow ? arguments.every : 0)
                             : format == "md"  ? report::to_markdown(report::to_json(report))
                             : format == "csv" ? report::to_csv(report::to_json(report))
                                               : report::to_tex(report::to_json(report));
    if (arguments.output == "-")
        print_output(text);
    else
        write_file_atomically(arguments.output, text, Overwrite::yes);
}

ExitCode make_report(const ReportArguments& arguments) {
    const std::string format = format_of(arguments);
    if (arguments.output == "-" && (arguments.follow || format == "png" || format == "svg"))
        throw ConfigError("-o -: expected the name of a file with --follow or a picture");
    if (arguments.follow) install_stop_signals();
    report::Report report(arguments.paths);
    bool follow = arguments.follow && !report.finished();
    write(report, arguments, format, follow);
    if (follow) print_notice("following: " + arguments.output + "; Ctrl-C ends it\n");
    while (follow && !stop_requested()) {
        for (int64_t tenth = 0; tenth < 10 * arguments.every && !stop_requested(); ++tenth)
            std::this_thread::sleep_for(std::chrono::milliseconds(100));
        const bool changed = report.update();
        follow = !report.finished() && !stop_requested();
        // The last page does not read itself again.
        if (changed || !follow) write(report, arguments, format, follow);
    }
    if (arguments.output != "-") print_notice("wrote " + arguments.output + "\n");
    return ExitCode::ok;
}

} // namespace

void add_report_command(Command app, CommandRun& action) {
    const auto arguments = std::make_shared<ReportArguments>();
    const Command command = app.subcommand("report", "One page of curves and numbers of runs, or of a sweep");
    command.option("RUN", arguments->paths, "Run folders, and at most one sweep's folder").required();
    command
        .option("-o,--output", arguments->output,
                "The file to write, replaced where it exists; -: standard output")
        .required();
    command
        .option("--format", arguments->format,
                "Left out, as the output's name ends, else html; pictures need gnuplot")
        .one_of({"html", "md", "csv", "tex", "png", "svg"});
    const Option follow = command.flag("--follow", arguments->follow,
                                       "Write it again while runs go on; the page reads itself again");
    command.option("--every", arguments->every, "Seconds between two looks of --follow")
        .range(int64_t{1}, int64_t{3600})
        .needs(follow);
    command.callback([=, &action] { action = [=] { return make_report(*arguments); }; });
}

} // namespace braid
