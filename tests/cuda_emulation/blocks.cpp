// Runs kernels: the threads of a block are fibers that take turns on one thread of the host.

#include <cuda_runtime.h>
#include <ucontext.h>
#include <csetjmp>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <vector>

namespace cuda_emulation {
namespace {

constexpr size_t kStackBytes = 64 << 10;
constexpr unsigned kWarp = 32;

enum class State { ready, at_block_barrier, at_warp_barrier, done };

struct Fiber {
    ucontext_t context; // for its first turn; jumps, which leave signals alone, are many times faster
    jmp_buf here;
    bool has_started = false;
    std::unique_ptr<std::byte[]> stack{new std::byte[kStackBytes]};
    State state = State::ready;
    Built built;
};

/// The fibers of one thread of the host, kept from launch to launch.
class Block {
  public:
    void run(dim3 grid, dim3 size, dim3 index, size_t shared_bytes, const std::function<void()>& body) {
        const size_t count = size_t{size.x} * size.y * size.z;
        while (fibers_.size() < count) fibers_.push_back(std::make_unique<Fiber>());
        count_ = count;
        body_ = &body;
        shared_.assign(shared_bytes, std::byte{0xa5}); // nobody may rely on zeros
        slots_.assign((count + kWarp - 1) / kWarp * kWarp, 0);
        given_.resize(slots_.size() * kLaneBytes);
        for (size_t i = 0; i < count; ++i) start(*fibers_[i], i, grid, size, index);
        size_t done = 0;
        while (done < count) {
            bool moved = false;
            for (size_t i = 0; i < count; ++i) {
                if (fibers_[i]->state != State::ready) continue;
                moved = true;
                current_ = i;
                resume(*fibers_[i]);
                done += fibers_[i]->state == State::done;
            }
            if (!release() && !moved && done < count) stuck();
        }
    }

    Fiber& current() { return *fibers_[current_]; }
    void* shared() { return shared_.data(); }

    void wait(State state) {
        Fiber& fiber = current();
        fiber.state = state;
        if (_setjmp(fiber.here) == 0) _longjmp(scheduler_, 1);
    }
    uint64_t& slot(size_t lane) { return slots_[current_ / kWarp * kWarp + lane]; }
    size_t lane() const { return current_ % kWarp; }
    std::byte* given(size_t lane) { return &given_[(current_ / kWarp * kWarp + lane) * kLaneBytes]; }
    bool is_running(size_t lane) const {
        const size_t i = current_ / kWarp * kWarp + lane;
        return i < count_ && fibers_[i]->state != State::done;
    }

  private:
    /// Gives the fiber a turn.
    void resume(Fiber& fiber) {
        if (_setjmp(scheduler_) != 0) return;
        if (fiber.has_started) _longjmp(fiber.here, 1);
        fiber.has_started = true;
        setcontext(&fiber.context);
    }
    void start(Fiber& fiber, size_t i, dim3 grid, dim3 size, dim3 index) {
        const auto at = static_cast<unsigned>(i);
        fiber.state = State::ready;
        fiber.built = {dim3(at % size.x, at / size.x % size.y, at / size.x / size.y), index, size, grid};
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.get();
        fiber.context.uc_stack.ss_size = kStackBytes;
        fiber.context.uc_link = nullptr;
        fiber.has_started = false;
        makecontext(&fiber.context, reinterpret_cast<void (*)()>(&Block::enter), 0);
    }
    [[noreturn]] static void enter();

    /// Lets those go on whose barrier all have reached.
    bool release() {
        bool released = false;
        const auto all_at = [&](size_t first, size_t last, State state) {
            bool any = false;
            for (size_t i = first; i < last; ++i) {
                if (fibers_[i]->state != State::done && fibers_[i]->state != state) return false;
                any |= fibers_[i]->state == state;
            }
            return any;
        };
        const auto go = [&](size_t first, size_t last) {
            for (size_t i = first; i < last; ++i)
                if (fibers_[i]->state != State::done) fibers_[i]->state = State::ready;
            released = true;
        };
        for (size_t first = 0; first < count_; first += kWarp) {
            const size_t last = std::min(count_, first + kWarp);
            if (all_at(first, last, State::at_warp_barrier)) go(first, last);
        }
        if (all_at(0, count_, State::at_block_barrier)) go(0, count_);
        return released;
    }

    [[noreturn]] void stuck() const {
        size_t block = 0, warp = 0;
        for (size_t i = 0; i < count_; ++i) {
            block += fibers_[i]->state == State::at_block_barrier;
            warp += fibers_[i]->state == State::at_warp_barrier;
        }
        std::fprintf(
            stderr,
            "CUDA emulation: of %zu threads %zu wait at __syncthreads and %zu at a warp operation that "
            "the others never reach\n",
            count_, block, warp);
        std::abort();
    }

    std::vector<std::unique_ptr<Fiber>> fibers_;
    size_t count_ = 0, current_ = 0;
    const std::function<void()>* body_ = nullptr;
    jmp_buf scheduler_;
    std::vector<std::byte> shared_;
    std::vector<uint64_t> slots_;
    std::vector<std::byte> given_;
};

thread_local Block block;

void Block::enter() {
    (*block.body_)();
    block.current().state = State::done;
    _longjmp(block.scheduler_, 1);
}

} // namespace

void run(dim3 grid, dim3 size, size_t shared_bytes, const std::function<void()>& thread) {
    const size_t threads = size_t{size.x} * size.y * size.z;
    if (threads == 0 || threads > 1024 || grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.y > 65535 ||
        grid.z > 65535 || grid.x > 2147483647u || shared_bytes > 227 << 10) {
        std::fprintf(stderr,
                     "CUDA emulation: a launch of %u x %u x %u blocks of %zu threads with %zu bytes\n",
                     grid.x, grid.y, grid.z, threads, shared_bytes);
        std::abort();
    }
    const DeviceAccess access;
    for (unsigned z = 0; z < grid.z; ++z)
        for (unsigned y = 0; y < grid.y; ++y)
            for (unsigned x = 0; x < grid.x; ++x) block.run(grid, size, dim3(x, y, z), shared_bytes, thread);
}

const Built& built() {
    return block.current().built;
}

void* dynamic_shared() {
    return block.shared();
}

void sync_block() {
    block.wait(State::at_block_barrier);
}

uint64_t exchange(uint64_t value, int source) {
    block.slot(block.lane()) = value;
    block.wait(State::at_warp_barrier);
    const uint64_t result = block.slot(static_cast<size_t>(source));
    block.wait(State::at_warp_barrier); // nobody writes again before all have read
    return result;
}

unsigned ballot(bool predicate) {
    block.slot(block.lane()) = predicate;
    block.wait(State::at_warp_barrier);
    unsigned bits = 0;
    for (size_t lane = 0; lane < kWarp; ++lane)
        if (block.is_running(lane)) bits |= static_cast<unsigned>(block.slot(lane) & 1) << lane;
    block.wait(State::at_warp_barrier);
    return bits;
}

void share(const void* given, size_t bytes, const std::function<void(const std::byte* lanes)>& read) {
    std::memcpy(block.given(block.lane()), given, bytes);
    block.wait(State::at_warp_barrier);
    read(block.given(0));
    block.wait(State::at_warp_barrier);
}

} // namespace cuda_emulation
