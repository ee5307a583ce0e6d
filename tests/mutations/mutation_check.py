#!/usr/bin/python3
"""Breaks each kind of reduction on purpose and expects the parity tests to notice: a test of the tests.

Not part of ctest, as every mutant is a build: python3 tests/mutations/mutation_check.py [WORDS] (a quarter of an hour
on two cores; with WORDS only mutants that have one of them in their description). It works on a copy of the tree. Exit
code 1 if a mutant survives.
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
# (what is broken, file, text, text of the mutant)
MUTANTS = [
    ("forget to sum dense gradients", "parallel/gradient_reducer.cpp",
     "if (comm.size() == 1) continue;\n        const Tensor gradients",
     "if (comm.size() == 1 || !bucket.group.expert) continue;\n        const Tensor gradients"),
    ("forget to sum expert gradients", "parallel/gradient_reducer.cpp",
     "if (comm.size() == 1) continue;\n        const Tensor gradients",
     "if (comm.size() == 1 || bucket.group.expert) continue;\n        const Tensor gradients"),
    ("sum a gradient twice", "ops/basic/ordered_sum_cpu.cpp",
     "Sum total = static_cast<Sum>(pieces[i]);",
     "Sum total = 2 * static_cast<Sum>(pieces[i]);"),
    ("mean for sum", "ops/basic/ordered_sum_cpu.cpp",
     "sum[i] = static_cast<T>(total);",
     "sum[i] = static_cast<T>(total / static_cast<Sum>(num_pieces));"),
    ("expert gradients over the data axis", "parallel/mesh.cpp",
     "if (group.expert) return axis(Axis::expert_data);",
     "if (group.expert) return axis(Axis::data);"),
    ("norm weights not summed over tensor ranks", "tensor/parameters/parameter.cpp",
     "const ReductionGroup group{expert, spec.partial_over_tensor ? replicas : 1};",
     "const ReductionGroup group{expert, 1};"),
    ("N of one rank", "trainer/training/step.cpp",
     "flight.ctx.totals->valid_labels",
     "flight.ctx.documents->num_tokens()"),
    ("replicated heads counted twice in the full-width QK-norm", "layers/sublayer/norm.cpp",
     "ctx.mesh->grid().tensor.index % replicas == 0",
     "replicas > 0"),
    ("copies counted twice in the gradient norm", "optim/gradient_norm.cpp",
     "if (!bucket.counted) continue;",
     ""),
    ("gradient norm without the experts of others", "trainer/verify/layout_run.cpp",
     "all_reduce_sum(world, std::span(&squares, 1));",
     "all_reduce_sum(mesh_.axis(Axis::data), std::span(&squares, 1));"),
    ("router counts per rank", "layers/sublayer/recorder.cpp",
     "all_reduce_sum(comm, std::span(expert_counts[i]));",
     ""),
    ("sequence counts of one tensor rank", "layers/feed_forward/moe.cpp",
     "if (ctx.mesh) all_reduce_counts(*ctx.allocator, ctx.mesh->axis(Axis::tensor), by_sequence);",
     ""),
    ("no sum over the parts of an expert", "parallel/row_collectives.cpp",
     "ops::ordered_sum(pieces, y);",
     "ops::ordered_sum(pieces.rows(0, 1), y);"),
    ("no sum of the gradients of a gathered input", "parallel/row_collectives.cpp",
     "        return reduce_scatter(*run.allocator, comm, dy, rows);",
     "        return rows_of(comm, dy, rows);"),
    ("no sum of the gradients of a copied input", "parallel/row_collectives.cpp",
     "record(ctx, \"all_reduce\", x, y,\n           [&comm](Context& run, const Tensor& dy) { r"
     "eturn all_reduce(*run.allocator, comm, dy); });\n    return y;\n}\n\nTensor sum_to_copy",
     "record(ctx, \"all_reduce\", x, y, [](Context&, const Tensor& dy) { return dy; });\n    re"
     "turn y;\n}\n\nTensor sum_to_copy"),
    ("softmax over this rank's words", "ops/basic/head_parts_cpu.cpp",
     "            sum += std::exp(in[r * 2 * tokens + t] - top);",
     "            if (r == 0) sum += std::exp(in[t] - top);"),
    ("loss counted by every tensor rank", "layers/sublayer/regions.cpp",
     "return is_alone(ctx) || ctx.mesh->grid().tensor.index == 0;",
     "return true;"),
    ("a token to one of its ranks only", "ops/moe/expert_ranks_cpu.cpp",
     "of_token.resize(static_cast<size_t>(most), -1);",
     "of_token.resize(1);\n        of_token.resize(static_cast<size_t>(most), -1);"),
    ("only the first piece of the experts in backward", "tensor/pieces.cpp",
     "        piece_backward(run.ctx,",
     "        if (first == 0) piece_backward(run.ctx,"),
    ("updated shares not gathered", "parallel/parameter_gatherer.cpp",
     "if (comm.size() == 1) continue;",
     "continue;"),
    ("values read before they have come", "trainer/training/step.cpp",
     "gatherer_.finish(action.unit);\n                break;",
     "break;"),
    ("reductions in another order on one rank", "trainer/training/step.cpp",
     "return make_schedule(num_micro_batches, units, sharing_);",
     """auto plan = make_schedule(num_micro_batches, units, sharing_);
    Action* first = nullptr;
    for (Action& action : plan) {
        if (mesh_.world().rank() != 1 || action.kind != Action::Kind::reduce_start) continue;
        if (first) {
            std::swap(first->unit, action.unit);
            break;
        }
        first = &action;
    }
    return plan;"""),
    ("Newton-Schulz on one rank's part of a matrix", "optim/muon.cpp",
     "std::copy_n(row, piece.columns, RowsOf<T>{matrices.of}(piece, i));",
     "std::fill_n(RowsOf<T>{matrices.of}(piece, i), piece.columns, 0 * *row);"),
]
TESTS = "*parity*:step.*:*layout_property*/0:*layout_property*/1"


def main():
    survivors = []
    mutants = [m for m in MUTANTS if len(sys.argv) == 1 or any(word in m[0] for word in sys.argv[1:])]
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / "braid"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns("build", "runs", "data-cache", ".git"))
        run = lambda *command: subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=1800)
        assert run("cmake", "--preset", "cpu").returncode == 0
        for what, file, text, mutant in [("nothing", MUTANTS[0][1], "", "")] + mutants:
            path = copy / file
            original = path.read_text()
            assert text in original, f"{what}: {file} has changed; {text!r} is not in it"
            path.write_text(original.replace(text, mutant) if text else original)
            built = run("cmake", "--build", "--preset", "cpu", "--target", "test_trainer", "-j", "2")
            assert built.returncode == 0, built.stdout[-3000:]
            caught = run("build/cpu/tests/test_trainer", "--gtest_filter=" + TESTS).returncode != 0
            path.write_text(original)
            print(f"{'caught' if caught else 'passed':<8} {what}", flush=True)
            if caught == (what == "nothing"):
                survivors.append(what)
    print("not as expected: " + ", ".join(survivors) if survivors else f"{len(mutants)} mutants caught")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
