#include <fmt/format.h>

#include "ablation/report/page_files.h"
#include "ablation/report/report.h"
#include "base/sha256.h"

namespace braid::report {
namespace {

/// The source expression by which a Content-Security-Policy lets this one text through.
std::string csp_hash(std::string_view text) {
    constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    Sha256 hash;
    hash.update(text);
    const Sha256::Digest digest = hash.finish();
    std::string base64;
    for (size_t i = 0; i < digest.size(); i += 3) {
        uint32_t bits = 0;
        for (size_t k = 0; k < 3; ++k) bits = bits << 8 | (i + k < digest.size() ? digest[i + k] : 0U);
        for (int k = 3; k >= 0; --k) base64 += kDigits[bits >> (6 * k) & 63];
    }
    base64.back() = '='; // 32 bytes leave one place empty
    return "'sha256-" + base64 + "'";
}

} // namespace

std::string to_html(const Report& report, const PageOptions& options) {
    std::string page(page_file("template.html"));
    const auto put = [&](const std::string& mark, std::string_view text) {
        const size_t at = page.find(mark);
        check(at != std::string::npos, "the template of the report lacks {}", mark);
        page.replace(at, mark.size(), text);
    };
    std::string script = "'use strict';\n(() => {\n";
    for (const std::string_view name : {"base.js", "curves.js", "chart.js", "tasks.js", "layers.js",
                                        "tables.js", "cost.js", "samples.js", "verdict.js", "main.js"})
        script += page_file(name);
    script += "})();\n";
    const std::string library = std::string(page_file("chart.min.js"));
    const std::string style = std::string(page_file("style.css"));
    put("@POLICY@",
        fmt::format("default-src 'none'; script-src {} {}; style-src {}; img-src data:; base-uri 'none'; "
                    "form-action 'none'",
                    csp_hash(library), csp_hash(script), csp_hash(style)));
    put("@STYLE@", style);
    put("@LICENCE@", page_file("chart-licence.txt"));
    put("@CHART@", library);
    put("@SCRIPT@", script);
    put("@DATA@", to_script_text(to_json(report, options))); // last: a stranger's text may hold any mark
    return page;
}

} // namespace braid::report
