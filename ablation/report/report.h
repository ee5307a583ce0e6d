#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ablation/report/run_data.h"

namespace braid::report {

enum class ReportFormat { html, md, csv, tex, png, svg };

/// What a report is made of: runs in the order given, those of a sweep in the order of their names.
class Report {
  public:
    /// Opens run folders and at most one sweep (a folder with sweep.yaml). Errors as of RunData; DataError
    /// for a verdict.json that is no JSON object.
    explicit Report(const std::vector<std::string>& paths);

    /// Reads what was added since, new runs of the sweep too. True where something was.
    bool update();
    /// Whether no run goes on and the sweep, if any, plans no more.
    bool finished() const;

    const std::vector<std::unique_ptr<RunData>>& runs() const { return runs_; }
    /// The runs that tuned the sweep's variants, read for what they cost.
    const std::vector<std::unique_ptr<RunData>>& tuning() const { return tuning_; }
    /// The first steps that runs of the sweep have in common, for the same.
    const std::vector<std::unique_ptr<RunData>>& trunks() const { return trunks_; }
    const std::string& sweep() const { return sweep_; } // its folder, or ""
    const Json& verdict() const { return verdict_; }    // null where there is none

  private:
    void find_runs();
    bool read_verdict();

    std::vector<std::string> paths_;
    std::string sweep_, verdict_text_;
    Json verdict_;
    std::vector<std::unique_ptr<RunData>> runs_, tuning_, trunks_;
};

struct PageOptions {
    int64_t follow = 0; // seconds after which the page reads itself again; 0: never
    double price = 0;   // of a rank-hour; 0: not known
    /// Bytes of the data in a page. Above it layers.jsonl's numbers are thinned, with a note: scripts and
    /// what else is around it stay below the rest of 10 MB.
    size_t most_bytes = 9'400'000;
};

/// Everything the page shows; docs/report.md lists the fields.
Json to_json(const Report& report, const PageOptions& options = {});
/// JSON that may stand inside a script element: no text in it can end that.
std::string to_script_text(const Json& value);
/// One page that needs nothing else.
std::string to_html(const Report& report, const PageOptions& options = {});

// The table of final numbers, one row a run, with a sweep its variants before it, and what all of it cost.
std::string to_markdown(const Json& data);
std::string to_tex(const Json& data);

struct CsvTable {
    std::string suffix; // of the file's name: "", "-verdicts" or "-cost"
    std::string text;
};
/// The table of final numbers first; of a sweep those of its verdicts, if there are any, and of its cost.
std::vector<CsvTable> to_csv(const Json& data);
/// The curves of losses as gnuplot draws them, into `path`. WriteError where there is no gnuplot or it fails.
void draw_losses(const Json& data, ReportFormat format, const std::string& path);

} // namespace braid::report
