#include "optim/optimizer_schema.h"

namespace braid {

namespace {

constexpr double kMaxSteps = 1e12;

const Schema<ScheduleConfig>& schedule_schema() {
    using S = ScheduleConfig;
    const auto is_constant = [](const S& s) { return s.type == ScheduleType::constant; };
    const auto is_not_wsd = [](const S& s) { return s.type != ScheduleType::wsd; };
    static const Schema<S> schema =
        Schema<S>()
            .key("type", &S::type,
                 {.help = "how the learning rate falls after the warm-up",
                  .aliases = {"lr_decay_style", "decay_type", "lr_scheduler_type", "optimizer.schedule.name"},
                  .synonyms = "warmupstabledecay=wsd stable=wsd trapezoidal=wsd none=constant fixed=constant "
                              "cosineannealing=cosine"})
            .key("warmup_steps", &S::warmup_steps,
                 {.help = "steps over which the learning rate rises from 0",
                  .min = 0,
                  .max = kMaxSteps,
                  .aliases = {"lr_warmup_iters", "warmup", "num_warmup_steps"}})
            .count("warmup_tokens", {.help = "the same in tokens, rounded up to steps",
                                     .min = 0,
                                     .max = 1e18,
                                     .counts_tokens = true})
            .key("min_lr", &S::min_lr,
                 {.help = "the learning rate at the end",
                  .min = 0,
                  .aliases = {"min_lr_factor", "lr_min", "alpha_f"}})
            .key("decay_steps", &S::decay_steps,
                 {.help = "wsd: length of the last phase; required there",
                  .min = 1,
                  .max = kMaxSteps,
                  .default_text = "none",
                  .aliases = {"lr_wsd_decay_iters", "decay"}})
            .key("decay_shape", &S::decay_shape,
                 {.help = "wsd: over its progress p, linear 1-p or sqrt 1-sqrt(p)",
                  .aliases = {"lr_wsd_decay_style"}})
            .example("{type: cosine, warmup_steps: 100}")
            .pointless("min_lr", "the schedule is constant", is_constant)
            .pointless("decay_steps", "the schedule is not wsd", is_not_wsd)
            .pointless("decay_shape", "the schedule is not wsd", is_not_wsd)
            .rule("schedule wsd needs decay_steps; warmup_steps and warmup_tokens are alternatives",
                  [](const S& s, SectionCheck& check) {
                      if (s.type == ScheduleType::wsd && !check.given("decay_steps"))
                          check.fail("decay_steps", "required by schedule wsd, and left out");
                      if (check.given("warmup_steps") && check.given("warmup_tokens"))
                          check.fail("warmup_tokens", "says the same as warmup_steps: give one of them");
                  });
    return schema;
}

const Schema<MuonConfig>& muon_schema() {
    using M = MuonConfig;
    static const Schema<M> schema =
        Schema<M>()
            .key("momentum", &M::momentum,
                 {.help = "decay of the average of gradients",
                  .min = 0,
                  .below = 1,
                  .aliases = {"muon_momentum", "momentum_beta"}})
            .key("nesterov", &M::nesterov,
                 {.help = "orthogonalise the average one step ahead", .aliases = {"muon_use_nesterov"}})
            .key("ns_steps", &M::ns_steps,
                 {.help = "Newton-Schulz steps",
                  .min = 1,
                  .max = 100,
                  .aliases = {"muon_num_ns_steps", "muon_ns_steps", "newton_schulz_steps", "num_ns_steps"}})
            .key("coefficients", &M::coefficients,
                 {.help = "of the steps: Jordan's, the same in each, or those of Polar Express",
                  .aliases = {"muon_coefficient_type", "ns_coefficients", "coefficient_type"}})
            .key("scale", &M::scale,
                 {.help =
                      "update of a matrix [out, in]: match_rms 0.2 sqrt(max(out, in)), which takes AdamW's "
                      "lr and weight_decay; original sqrt(max(1, out/in)); spectral sqrt(out/in)",
                  .aliases = {"muon_scale_mode", "adjust_lr_fn", "adjust_lr", "scale_mode"}})
            .key("split_heads", &M::split_heads,
                 {.help =
                      "each head's part of a projection is a matrix of its own, instead of all heads' q, k, "
                      "v, gate or out together",
                  .aliases = {"muon_split_qkv", "split_qkv"}})
            .pointless("nesterov", "there is no momentum", [](const M& m) { return m.momentum == 0; })
            .example("{momentum: 0.95}");
    return schema;
}

const Schema<ParameterGroup>& group_schema() {
    using G = ParameterGroup;
    static const Schema<G> schema =
        Schema<G>()
            .key("role", &G::role, {.help = "parameters of these roles"})
            .key("sublayer", &G::sublayer, {.help = "parameters of sublayers of these names"})
            .key("layer", &G::layer, {.help = "parameters of these layers, from 0"})
            .key("name", &G::name, {.help = "parameters whose global name fits a pattern with * and ?"})
            .key("weight_decay", &G::weight_decay, {.help = "instead of optimizer.weight_decay", .min = 0})
            .key("lr_scale", &G::lr_scale,
                 {.help = "factor on the learning rate", .min = 0, .aliases = {"lr_mult"}})
            .key("muon", &G::muon,
                 {.help = "type muon: true or false, whether Muon or AdamW updates these matrices"})
            .example("{role: router, lr_scale: 0.5}")
            .rule("a group selects by role, sublayer, layer or name, and sets weight_decay, lr_scale or muon",
                  [](const G& g, SectionCheck& check) {
                      if (g.role.empty() && g.sublayer.empty() && g.layer.empty() && g.name.empty())
                          check.fail(
                              "role",
                              "expected role, sublayer, layer or name to say which parameters, found none");
                      if (!g.weight_decay && !g.lr_scale && !g.muon)
                          check.fail("weight_decay",
                                     "has no effect: expected weight_decay, lr_scale or muon, found none");
                  });
    return schema;
}

} // namespace

const Schema<OptimizerConfig>& optimizer_schema() {
    using O = OptimizerConfig;
    static const Schema<O> schema =
        Schema<O>()
            .key("type", &O::type,
                 {.help = "AdamW with decoupled weight decay, or Muon for matrices and AdamW for all else",
                  .aliases = {"optimizer", "optimizer_type", "optimizer.name", "optimizer.optimizer",
                              "optimizer.kind", "optimizer.algorithm"},
                  .synonyms = "adam=adamw"})
            .key("lr", &O::lr,
                 {.help = "peak learning rate",
                  .above = 0,
                  .max = 1000,
                  .aliases = {"learning_rate", "max_lr", "peak_lr"}})
            .key("betas", &O::betas,
                 {.help = "decay of the first and second moment",
                  .min = 0,
                  .below = 1,
                  .aliases = {"adam_beta1", "adam_beta2", "beta1", "beta2", "adam_betas"},
                  .example = "[0.9, 0.95]"})
            .key("eps", &O::eps,
                 {.help = "added to the root of the second moment",
                  .above = 0,
                  .aliases = {"adam_eps", "adam_epsilon"}})
            .key("weight_decay", &O::weight_decay,
                 {.help = "times the learning rate, on every parameter but norms, biases and recurrent ones",
                  .min = 0,
                  .aliases = {"wd"}})
            .key("clip", &O::clip,
                 {.help = "largest gradient norm over all parameters; 0 means no clipping",
                  .min = 0,
                  .aliases = {"clip_grad", "max_norm", "max_grad_norm", "grad_clip"}})
            .list("groups", &O::groups, group_schema(),
                  {.help = "settings for some parameters; selectors of a group are ANDed, later groups win",
                   .example = "[{role: router, lr_scale: 0.5}]"})
            .section("schedule", &O::schedule, schedule_schema(), "the learning rate over the steps")
            .section("muon", &O::muon, muon_schema(), "type muon")
            .example("{type: adamw, lr: 1.0e-3}")
            .pointless("muon", "the optimizer is adamw",
                       [](const O& o) { return o.type != OptimizerType::muon; })
            .rule("groups.N.muon is refused where the optimizer is adamw",
                  [](const O& o, SectionCheck& check) {
                      for (size_t i = 0; i < o.groups.size(); ++i)
                          if (o.groups[i].muon && o.type != OptimizerType::muon)
                              check.fail(fmt::format("groups.{}.muon", i),
                                         "has no effect: the optimizer is adamw");
                  })
            .rule("schedule.min_lr is at most lr", [](const O& o, SectionCheck& check) {
                if (o.schedule.min_lr > o.lr)
                    check.fail("schedule.min_lr",
                               fmt::format("expected at most optimizer.lr ({}), found {}", write_number(o.lr),
                                           write_number(o.schedule.min_lr)));
            });
    return schema;
}

} // namespace braid
