#pragma once

#include <vector>

#include "ops/update/newton_schulz.h"
#include "optim/adamw.h"
#include "optim/matrix_moves.h"
#include "parallel/exposed_time.h"

namespace braid {

/// Muon (K. Jordan, kellerjordan.github.io/posts/muon, 2024; Liu et al., arXiv:2502.16982) for matrices, and
/// AdamW for all else. For each matrix [out, in] with gradient g:
///   m = b m + (1 - b) g,   n = b m + (1 - b) g (nesterov) or m,
///   O = Newton-Schulz steps on n / (|n|_F + 1e-7),   p -= lr (s O + wd p),   s as MuonScale says.
/// State and arithmetic have the store's dtype.
///
/// The state, "momentum", lies as AdamW's does: elementwise, in the ranges a rank updates. For the steps the
/// fragments of a matrix come together on one rank (MatrixPlan), and fragments of O go back to all who update
/// the matrix; each is one all-to-all per unit over the world.
class Muon : public Optimizer {
  public:
    /// Store and mesh must outlive it.
    Muon(const OptimizerConfig& config, ParameterStore& store, const Mesh& mesh, Allocator& allocator,
         bool sharded = false);

    UpdateKind kind() const override { return UpdateKind::matrix; }
    void update(int unit, int64_t step, double lr, double gradient_scale) override;
    bool exchanges(int unit) const override { return !plan_.unit(unit).matrices.empty(); }
    double take_exposed_seconds() override;
    void visit_state(const std::function<void(const std::string&, int, const FlatRange&, const Tensor&)>&
                         visit) const override;
    std::vector<std::string> states(int unit, size_t section) const override;
    void count_from(const std::map<std::string, int64_t>& first_steps) override {
        adamw_.count_from(first_steps); // momentum is normalised, not corrected
    }
    std::map<std::string, double> update_slopes() const override;

  private:
    /// What update_slopes() needs of a unit's last update.
    struct LastUpdate {
        double lr = 0, gradient_scale = 0;
        std::vector<Tensor> norms; // of the matrices computed here, before the steps, by batch
    };

    Tensor update_momentum(int unit, double gradient_scale);
    Tensor exchange(const Tensor& send, const std::vector<int64_t>& sent,
                    const std::vector<int64_t>& received);
    Tensor gather_matrices(const MatrixMoves& moves, const Tensor& momentum);
    void apply_updates(int unit, double lr, const Tensor& matrices);
    Tensor empty(int64_t elements) const;
    double update_scale(int64_t out, int64_t in) const;

    const OptimizerConfig config_;
    ParameterStore& store_;
    const Mesh& mesh_;
    Allocator& allocator_;
    const std::vector<UnitSettings> settings_;
    const MatrixPlan plan_;
    const std::vector<ops::NewtonSchulzStep> steps_;
    AdamW adamw_;
    // By unit.
    std::vector<MatrixMoves> moves_;
    std::vector<Tensor> momentum_; // of all ranges of the plan, one after the other
    std::vector<LastUpdate> last_updates_;
    ExposedTime exposed_time_;
};

} // namespace braid
