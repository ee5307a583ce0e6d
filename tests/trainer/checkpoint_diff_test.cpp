#include "trainer/checkpoint/checkpoint_diff.h"

#include <algorithm>
#include <cmath>

#include "tests/trainer/checkpoint_fixture.h"

namespace braid {
namespace {

using test::PretendedRun;
using test::TemporaryFolder;
using ::testing::HasSubstr;

template <typename T>
void set_element(const PretendedRun& run, const std::string& name, int64_t index, T value) {
    for (const NamedTensor& tensor : run.tensors)
        if (tensor.info.name == name) tensor.value.data<T>()[index] = value;
}

CheckpointDifference compare(const std::string& a, const std::string& b) {
    return compare_checkpoints(CheckpointReader::open(a), CheckpointReader::open(b));
}

TEST(checkpoint_diff, layout_and_save_id_are_no_state) {
    const TemporaryFolder folder;
    const std::string a = test::save(folder / "a", PretendedRun(3)),
                      b = test::save(folder / "b", PretendedRun(3), 4, 2, 2);
    EXPECT_TRUE(compare(a, b).bitwise_equal());
}

TEST(checkpoint_diff, one_element_is_named_with_its_error) {
    const TemporaryFolder folder;
    const std::string name = "model/norm.weight";
    const auto save = [&](const std::string& where, float first, float at_20) {
        PretendedRun run(3);
        for (const NamedTensor& tensor : run.tensors) {
            if (tensor.info.kind != TensorKind::parameter) continue;
            std::fill_n(tensor.value.data<float>(), tensor.value.numel(), 0.0f);
            if (tensor.info.name != name) continue;
            tensor.value.data<float>()[0] = first;
            tensor.value.data<float>()[20] = at_20;
        }
        return test::save(folder / where, run);
    };
    const CheckpointDifference difference = compare(save("a", -4, 2), save("b", -4, 1.5));
    EXPECT_TRUE(difference.structure.empty());
    ASSERT_EQ(difference.tensors.size(), 1u);
    EXPECT_EQ(difference.tensors[0].name, name);
    EXPECT_EQ(difference.tensors[0].num_different, 1);
    EXPECT_EQ(difference.tensors[0].num_elements, 37);
    EXPECT_EQ(difference.tensors[0].max_difference, 0.5);
    EXPECT_EQ(difference.tensors[0].error, 0.5 / 4);

    // The sign of zero is a different bit and no error; a tensor of zeros is measured by its group.
    const CheckpointDifference sign = compare(save("c", -0.0f, 2), save("d", 0.0f, 2));
    ASSERT_EQ(sign.tensors.size(), 1u);
    EXPECT_EQ(sign.tensors[0].error, 0);
}

TEST(checkpoint_diff, a_tensor_of_zeros_is_measured_by_its_group) {
    const TemporaryFolder folder;
    // b holds zeros in model/scale; R is the root mean square of all parameters.
    const PretendedRun a(3), b(3);
    set_element(a, "model/scale", 0, 0.5f);
    set_element(b, "model/scale", 0, 0.0f);
    double sum_squares = 0;
    int64_t count = 0;
    for (const NamedTensor& tensor : b.tensors) {
        if (tensor.info.kind != TensorKind::parameter) continue;
        for (const float x : tensor.value.span<float>()) sum_squares += static_cast<double>(x) * x;
        count += tensor.value.numel();
    }
    const auto difference = compare(test::save(folder / "a", a), test::save(folder / "b", b));
    ASSERT_EQ(difference.tensors.size(), 1u);
    const double expected = 0.5 / (1e-3 * std::sqrt(sum_squares / static_cast<double>(count)));
    // The same sums in the same precision, so rounding alone: a few units in the last place.
    EXPECT_NEAR(difference.tensors[0].error, expected, 1e-13 * expected);
}

TEST(checkpoint_diff, counts_and_tensors_that_only_one_has) {
    const TemporaryFolder folder;
    const auto alone = [](const std::string& text) { return std::vector<std::string>{text}; };
    const PretendedRun run(3);
    CheckpointContent content = run.content();
    const auto shards = test::shards_of_rank(run.tensors, 0, 1);
    const std::string a = save_checkpoint(folder / "a", shards, content, 0, alone);
    content.training.sample += 1;
    content.training.data["new.h5"] = "beef";
    content.training.quantities["lr"] = 0.5;
    const std::string b = save_checkpoint(folder / "b", std::span(shards).subspan(1), content, 0, alone);
    const CheckpointDifference difference = compare(a, b);
    EXPECT_FALSE(difference.bitwise_equal());
    EXPECT_THAT(
        difference.structure,
        ::testing::ElementsAre(HasSubstr("sample: 48 and 49"), HasSubstr("data/new.h5: only in the second"),
                               HasSubstr("quantities/lr"),
                               HasSubstr("model/layers.0.attn.q.weight: only in the first")));
}

TEST(checkpoint_diff, a_damaged_block_is_an_error_not_a_difference) {
    const TemporaryFolder folder;
    const std::string a = test::save(folder / "a", PretendedRun(3)),
                      b = test::save(folder / "b", PretendedRun(3));
    const std::string file = b + "/rank-00000.h5";
    std::string content = test::read_file(file);
    const CheckpointReader reader = CheckpointReader::open(b);
    content[static_cast<size_t>(reader.manifest().tensors[0].boxes[0].byte)] ^= 1;
    test::write_file(file, content);
    EXPECT_THROW(compare(a, b), CheckpointError);
}

} // namespace
} // namespace braid
