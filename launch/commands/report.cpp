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

// Above 0; the greatest catches a slip of units.
constexpr double kLeastPrice = 1e-6, kGreatestPrice = 1e6;

struct ReportArguments {
    std::vector<std::string> paths;
    std::string output, format;
    bool follow = false;
    int64_t every = 5;
    double price = 0;
};

/// As --format says, else as the name of the output ends.
std::string format_of(const ReportArguments& arguments) {
    if (!arguments.format.empty()) return arguments.format;
    for (const std::string format : {"md", "csv", "tex", "png", "svg"})
        if (arguments.output.ends_with("." + format)) return format;
    return "html";
}

/// The name of a further table of csv: NAME-verdicts.csv of NAME.csv.
std::string with_suffix(const std::string& output, const std::string& suffix) {
    constexpr std::string_view kEnd = ".csv";
    if (!output.ends_with(kEnd)) return output + suffix;
    return output.substr(0, output.size() - kEnd.size()) + suffix + std::string(kEnd);
}

/// Writes the report and returns the names of its files. Standard output has place for the first table alone.
std::vector<std::string> write(const report::Report& report, const ReportArguments& arguments,
                               const std::string& format, bool follow) {
    const report::PageOptions options{.follow = follow ? arguments.every : 0, .price = arguments.price};
    if (format == "png" || format == "svg") {
        report::draw_losses(report::to_json(report), format == "png" ? ReportFormat::png : ReportFormat::svg,
                            arguments.output);
        return {arguments.output};
    }
    std::vector<report::CsvTable> tables;
    if (format == "csv")
        tables = report::to_csv(report::to_json(report, options));
    else
        tables = {{"", format == "html" ? report::to_html(report, options)
                       : format == "md" ? report::to_markdown(report::to_json(report, options))
                                        : report::to_tex(report::to_json(report, options))}};
    if (arguments.output == "-") {
        print_output(tables[0].text);
        return {};
    }
    std::vector<std::string> files;
    for (const report::CsvTable& table : tables) {
        files.push_back(with_suffix(arguments.output, table.suffix));
        write_file_atomically(files.back(), table.text, Overwrite::yes);
    }
    return files;
}

ExitCode make_report(const ReportArguments& arguments) {
    const std::string format = format_of(arguments);
    if (arguments.output == "-" && (arguments.follow || format == "png" || format == "svg"))
        throw ConfigError("-o -: expected the name of a file with --follow or a picture");
    if (arguments.follow) install_stop_signals();
    report::Report report(arguments.paths);
    bool follow = arguments.follow && !report.finished();
    std::vector<std::string> files = write(report, arguments, format, follow);
    if (follow) print_notice("following: " + arguments.output + "; Ctrl-C ends it\n");
    while (follow && !stop_requested()) {
        for (int64_t tenth = 0; tenth < 10 * arguments.every && !stop_requested(); ++tenth)
            std::this_thread::sleep_for(std::chrono::milliseconds(100));
        const bool changed = report.update();
        follow = !report.finished() && !stop_requested();
        // The last page does not read itself again.
        if (changed || !follow) files = write(report, arguments, format, follow);
    }
    for (const std::string& file : files) print_notice("wrote " + file + "\n");
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
    command
        .option("--price", arguments->price,
                "What a rank costs an hour, in whatever unit: the report then has money too")
        .range(kLeastPrice, kGreatestPrice);
    const Option follow = command.flag("--follow", arguments->follow,
                                       "Write it again while runs go on; the page reads itself again");
    command.option("--every", arguments->every, "Seconds between two looks of --follow")
        .range(int64_t{1}, int64_t{3600})
        .needs(follow);
    command.callback([=, &action] { action = [=] { return make_report(*arguments); }; });
}

} // namespace braid
