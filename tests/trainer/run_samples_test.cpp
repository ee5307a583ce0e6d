// What a run's samples are, told by its folder.
#include "trainer/run/run_samples.h"

#include "tests/data/token_fixture.h"
#include "tests/trainer/checkpoint_fixture.h"

namespace braid {
namespace {

using test::PretendedRun;
using test::TemporaryFolder;
using ::testing::HasSubstr;

/// A run folder, and loaders of its data: one content twice, which is where data orders differ.
class RunFolderCase {
  public:
    RunFolderCase() {
        std::vector<std::string> texts;
        for (int i = 0; i < 40; ++i) texts.push_back(fmt::format("document {} of the two", i));
        test::write_texts(folder_ / "a.h5", texts);
        test::write_texts(folder_ / "b.h5", texts);
    }

    std::unique_ptr<TrainLoader> loader(int order, uint64_t seed = 7) const {
        DataConfig config;
        config.seed = seed;
        for (const char* name : {"a.h5", "b.h5"}) config.train.push_back({.path = folder_ / name});
        auto made =
            std::make_unique<TrainLoader>(config, LoaderOptions{.sequence_length = 16, .vocab_size = 256});
        made->set_order(order);
        return made;
    }
    void save(int64_t step, const TrainLoader& loader, bool notes_order = true) const {
        const PretendedRun run(step);
        CheckpointContent content = run.content();
        store_data_identity(content.training, loader);
        if (!notes_order) content.training.counters.erase("data_order");
        save_checkpoint(folder_ / "checkpoints", test::shards_of_rank(run.tensors, 0, 1), content, 0,
                        [](const std::string& text) { return std::vector{text}; }, {0, 512});
    }
    /// Of a new loader.
    int order_followed(uint64_t seed = 7) const {
        const auto followed = loader(TrainLoader::kNewestOrder, seed);
        follow_run(*followed, RunConfig{}, folder_ / "config.yaml");
        return followed->order();
    }
    std::string checkpoint(int64_t step) const { return folder_ / ("checkpoints/" + checkpoint_name(step)); }

  private:
    TemporaryFolder folder_;
};

TEST(run_samples, the_newest_readable_checkpoint_tells_the_order) {
    const RunFolderCase run;
    const int newest = TrainLoader::kNewestOrder;
    EXPECT_EQ(run.order_followed(), newest); // none yet
    run.save(1, *run.loader(1), false);      // from before the order was noted
    EXPECT_EQ(run.order_followed(), 1);
    run.save(2, *run.loader(newest));
    EXPECT_EQ(run.order_followed(), newest);
    test::write_file(run.checkpoint(2) + "/manifest.json", "damaged");
    EXPECT_EQ(run.order_followed(), 1);
}

TEST(run_samples, other_data_are_refused) {
    const RunFolderCase run;
    run.save(1, *run.loader(1));
    EXPECT_THAT(test::message_of<CheckpointError>([&] { run.order_followed(8); }),
                HasSubstr("step-00000001: was trained on other data"));
}

} // namespace
} // namespace braid
