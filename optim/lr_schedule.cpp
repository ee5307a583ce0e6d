#include "optim/lr_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"

namespace braid {

double learning_rate(const OptimizerConfig& config, int64_t step, int64_t num_steps) {
    const ScheduleConfig& s = config.schedule;
    const double lr = config.lr, range = config.lr - s.min_lr;
    if (step <= s.warmup_steps) return lr * static_cast<double>(step) / static_cast<double>(s.warmup_steps);
    const auto progress = [&](int64_t first) { // 0 at `first`, 1 at the last step
        const int64_t length = std::max<int64_t>(num_steps - first, 1);
        return std::clamp(static_cast<double>(step - first) / static_cast<double>(length), 0.0, 1.0);
    };
    switch (s.type) {
        case ScheduleType::constant:
            return lr;
        case ScheduleType::linear:
            return lr - range * progress(s.warmup_steps);
        case ScheduleType::cosine:
            return s.min_lr + range * 0.5 * (1 + std::cos(std::numbers::pi * progress(s.warmup_steps)));
        case ScheduleType::wsd: {
            const double p = progress(num_steps - s.decay_steps);
            if (p == 0)
                return lr; // to the last bit, so that a run may go on with a schedule that decays later
            return s.min_lr + range * (s.decay_shape == DecayShape::linear ? 1 - p : 1 - std::sqrt(p));
        }
    }
    throw InternalError("unknown schedule");
}

} // namespace braid
