#include "bench/gpu_cases.h"
#include "ops/basic/activation.h"
#include "ops/basic/elementwise.h"
#include "ops/basic/linear.h"
#include "ops/moe/grouped_linear.h"
#include "ops/moe/permute.h"
#include "ops/moe/routing.h"

namespace braid::bench {
namespace {

constexpr DType kBf16 = DType::bf16;

/// T tokens of D features go to k of E experts with I features between; R = T k rows.
struct Moe {
    int64_t tokens, hidden, experts, size, k;
    bool skewed = false; // some experts get many times what others get, as before a router is balanced

    double rows() const { return static_cast<double>(tokens * k); }
    double t() const { return static_cast<double>(tokens); }
    double d() const { return static_cast<double>(hidden); }
    double e() const { return static_cast<double>(experts); }
    double i() const { return static_cast<double>(size); }
    std::string shape() const {
        return fmt::format("{} tokens, {} experts of {} x {}, top {}{}", tokens, experts, hidden, size, k,
                           skewed ? ", skewed" : "");
    }
};

/// Choices from random logits, so near balance unless biases of the size of probabilities prefer some
/// experts.
ops::Routing random_routing(Rig& rig, const Moe& m) {
    const Tensor logits = rig.random({m.tokens, m.experts}, DType::f32);
    const Tensor bias = m.skewed ? rig.random({m.experts}, DType::f32, 2 / m.e()) : Tensor{};
    return ops::route(rig.ctx, logits, bias, {.k = m.k});
}

ops::ExpertPlan random_plan(Rig& rig, const Moe& m) {
    return ops::make_expert_plan(rig.ctx, random_routing(rig, m).expert, m.experts, ops::Choices::all);
}

/// The router's product is in f32, 2 T D E FLOPs. It reads x and writes logits, and backward three times
/// about that; bytes are those of x in bf16, its copy in f32 written and read, and the logits.
void add_router(std::vector<GpuCase>& cases, const Moe& m) {
    const double flops = 2 * m.t() * m.d() * m.e(), logits = 4 * m.t() * m.e(), x = m.t() * m.d();
    add_both(cases, "moe.router", m.shape(), {flops, (2 + 4 + 4) * x + logits, DType::f32},
             {2 * flops, (4 + 4 + 4 + 2) * x + 2 * logits, DType::f32}, [=](Rig& rig) -> Operation {
                 const Tensor h = rig.random({m.tokens, m.hidden}, kBf16);
                 const Parameter* w = rig.parameter({m.experts, m.hidden}, ParameterRole::router);
                 return
                     [=](Context& ctx) { return Values{ops::linear(ctx, ops::cast(ctx, h, DType::f32), w)}; };
             });
    // Logits are read, probabilities and k weights and choices a token are written, all of 4 bytes; backward
    // reads the gradients of both, probabilities and choices, and writes dlogits.
    const double chosen = 4 * m.rows();
    add_both(cases, "moe.route", m.shape(), {0, 2 * logits + 2 * chosen}, {0, 3 * logits + 2 * chosen},
             [=](Rig& rig) -> Operation {
                 const Tensor scores = rig.random({m.tokens, m.experts}, DType::f32);
                 return [=](Context& ctx) {
                     const ops::Routing routing = ops::route(ctx, scores, {}, {.k = m.k});
                     return Values{routing.weight, routing.probabilities};
                 };
             });
    // A sort of R choices: each is read once, and order and inverse are written.
    cases.push_back(
        {"moe.plan", m.shape(), {0, 3 * 4 * m.rows()}, [=](Rig& rig) -> Measured {
             const Tensor expert = random_routing(rig, m).expert;
             return {[] {},
                     [=, &rig] { ops::make_expert_plan(rig.ctx, expert, m.experts, ops::Choices::all); }};
         }});
}

/// Rows [R, D] are written (forward) or read (backward) once, tokens [T, D] the other way.
void add_moves(std::vector<GpuCase>& cases, const Moe& m) {
    const double rows = 2 * m.rows() * m.d(), tokens = 2 * m.t() * m.d(), weights = 4 * m.rows();
    add_both(cases, "moe.permute", m.shape(), {0, rows + tokens}, {0, rows + tokens},
             [=](Rig& rig) -> Operation {
                 const Tensor h = rig.random({m.tokens, m.hidden}, kBf16);
                 const ops::ExpertPlan plan = random_plan(rig, m);
                 return [=](Context& ctx) { return Values{ops::permute(ctx, h, plan)}; };
             });
    // Backward reads dy and the rows, for the weights' gradients, and writes the rows' gradients.
    add_both(cases, "moe.combine", m.shape(), {0, rows + tokens + weights},
             {0, 2 * rows + tokens + 2 * weights}, [=](Rig& rig) -> Operation {
                 const ops::Routing routing = random_routing(rig, m);
                 const ops::ExpertPlan plan =
                     ops::make_expert_plan(rig.ctx, routing.expert, m.experts, ops::Choices::all);
                 const Tensor outputs = rig.random({m.tokens * m.k, m.hidden}, kBf16);
                 return
                     [=](Context& ctx) { return Values{ops::combine(ctx, outputs, routing.weight, plan)}; };
             });
}

/// Bytes of a grouped product [R, in] x [E, out, in]: input, weights and output in bf16 forward; backward
/// reads dy, x and the weights, writes dx, and adds to gradients in f32 (8 bytes).
struct GroupedWork {
    Work forward, backward;

    GroupedWork(double rows, double experts, double in, double out) {
        const double x = 2 * rows * in, y = 2 * rows * out, w = 2 * experts * in * out;
        const double flops = 2 * rows * in * out;
        forward = {flops, x + w + y};
        backward = {2 * flops, y + 2 * x + w + 4 * w};
    }
};

void add_products(std::vector<GpuCase>& cases, const Moe& m) {
    const auto product = [&](const char* name, int64_t in, int64_t out) {
        const GroupedWork work(m.rows(), m.e(), static_cast<double>(in), static_cast<double>(out));
        add_both(cases, name, m.shape(), work.forward, work.backward, [=](Rig& rig) -> Operation {
            const Tensor x = rig.random({m.tokens * m.k, in}, kBf16);
            const Parameter* w = rig.parameter({m.experts, out, in}, ParameterRole::expert);
            const Tensor offsets = random_plan(rig, m).offsets;
            return [=](Context& ctx) { return Values{ops::grouped_linear(ctx, x, w, offsets)}; };
        });
    };
    product("moe.gate_up", m.hidden, 2 * m.size);
    product("moe.down", m.size, m.hidden);
    // 2 I features are read and I written; backward reads both and writes 2 I.
    const double half = 2 * m.rows() * m.i();
    add_both(cases, "moe.swiglu", m.shape(), {0, 3 * half}, {0, 5 * half}, [=](Rig& rig) -> Operation {
        const Tensor x = rig.random({m.tokens * m.k, 2 * m.size}, kBf16);
        return [=](Context& ctx) { return Values{ops::swiglu(ctx, x)}; };
    });
}

/// All between the router and the sum with the shared expert, as MoeLayer runs it on one rank. Work: the
/// products', and tokens in and out.
void add_whole(std::vector<GpuCase>& cases, const Moe& m) {
    const double flops = 6 * m.rows() * m.d() * m.i(), tokens = 2 * m.t() * m.d(),
                 w = 2 * 3 * m.e() * m.d() * m.i();
    add_both(
        cases, "moe.experts", m.shape(), {flops, 2 * tokens + w}, {2 * flops, 2 * tokens + 5 * w},
        [=](Rig& rig) -> Operation {
            const Tensor h = rig.random({m.tokens, m.hidden}, kBf16);
            const ops::Routing routing = random_routing(rig, m);
            const Parameter* in = rig.parameter({m.experts, 2 * m.size, m.hidden}, ParameterRole::expert);
            const Parameter* out = rig.parameter({m.experts, m.hidden, m.size}, ParameterRole::expert);
            return [=](Context& ctx) {
                const ops::ExpertPlan plan =
                    ops::make_expert_plan(ctx, routing.expert, m.experts, ops::Choices::all);
                const Tensor rows = ops::permute(ctx, h, plan);
                const Tensor hidden = ops::swiglu(ctx, ops::grouped_linear(ctx, rows, in, plan.offsets));
                const Tensor outputs = ops::grouped_linear(ctx, hidden, out, plan.offsets);
                return Values{ops::combine(ctx, outputs, routing.weight, plan)};
            };
        });
}

} // namespace

std::vector<GpuCase> expert_cases(bool small) {
    // As Qwen3-30B-A3B and Qwen3-Next.
    const std::vector<Moe> shapes =
        small ? std::vector<Moe>{{24, 32, 4, 16, 2}}
              : std::vector<Moe>{{32768, 2048, 128, 768, 8}, {32768, 2048, 512, 512, 10}};
    std::vector<GpuCase> cases;
    for (Moe m : shapes) {
        add_router(cases, m);
        add_moves(cases, m);
        add_products(cases, m);
        add_whole(cases, m);
        m.skewed = true;
        add_whole(cases, m);
    }
    return cases;
}

} // namespace braid::bench
