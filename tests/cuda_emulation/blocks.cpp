// Runs kernels: the threads of a block are fibers that take turns on one thread of the host.

#include <cuda_runtime.h>
#include <ucontext.h>
#include <csetjmp>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "tests/cuda_emulation/kernels.h"
#include "tests/cuda_emulation/order.h"

namespace cuda_emulation {
namespace {

constexpr size_t kStackBytes = 64 << 10;
constexpr unsigned kWarp = 32;
constexpr size_t kCopyBytes = 16, kMostAlignment = 1024;

enum class State { ready, at_block_barrier, at_warp_barrier, done };

/// An asynchronous copy that nobody has waited for. Its bytes are read and written at the wait, the last
/// moment at which a GPU may do so.
struct Copy {
    void* to;
    const void* from;
    size_t bytes; // of kCopyBytes; the rest becomes zero

    void finish() const {
        std::memset(to, 0, kCopyBytes);
        std::memcpy(to, from, bytes);
    }
};

struct Fiber {
    ucontext_t context; // for its first turn; jumps, which leave signals alone, are many times faster
    jmp_buf here;
    bool has_started = false;
    std::unique_ptr<std::byte[]> stack{new std::byte[kStackBytes]};
    State state = State::ready;
    Built built;
    std::vector<Copy> copies;        // those not waited for
    std::vector<size_t> group_sizes; // of the groups among them; copies behind those are in none
};

/// The fibers of one thread of the host, kept from launch to launch.
class Block {
  public:
    void run(const Kernel& kernel, dim3 grid, dim3 size, dim3 index, size_t shared_bytes,
             const std::function<void()>& body) {
        const size_t count = size_t{size.x} * size.y * size.z;
        while (fibers_.size() < count) fibers_.push_back(std::make_unique<Fiber>());
        count_ = count;
        body_ = &body;
        kernel_ = &kernel;
        shared_.assign(shared_bytes + 3 * kMostAlignment, std::byte{kPoison}); // nobody may rely on zeros
        shared_begin_ = 2 * kMostAlignment;
        poison(kernel);
        slots_.assign((count + kWarp - 1) / kWarp * kWarp, 0);
        given_.resize(slots_.size() * kLaneBytes);
        for (size_t i = 0; i < count; ++i) start(*fibers_[i], i, grid, size, index);
        size_t done = 0;
        while (done < count) {
            bool moved = false;
            Order::chosen().arrange(turns_, count);
            for (const size_t i : turns_) {
                if (fibers_[i]->state != State::ready) continue;
                moved = true;
                current_ = i;
                resume(*fibers_[i]);
                done += fibers_[i]->state == State::done;
            }
            if (!release() && !moved && done < count) stuck();
        }
        const auto is_poison = [](std::byte value) { return value == std::byte{kPoison}; };
        const auto begin = shared_.begin() + static_cast<ptrdiff_t>(shared_begin_);
        if (!std::all_of(shared_.begin(), begin, is_poison) ||
            !std::all_of(begin + static_cast<ptrdiff_t>(shared_bytes), shared_.end(), is_poison))
            fail("written outside of its %zu bytes of dynamic shared memory", shared_bytes);
    }

    Fiber& current() { return *fibers_[current_]; }
    /// At a multiple of the alignment that is not one of its double: a kernel has no more to rely on.
    void* shared(size_t alignment) {
        if (alignment > kMostAlignment) fail("shared memory aligned to %zu bytes", alignment);
        const auto first = reinterpret_cast<uintptr_t>(shared_.data());
        const uintptr_t even = (first + 2 * kMostAlignment - 1) / (2 * kMostAlignment) * (2 * kMostAlignment);
        shared_begin_ = even - first + alignment;
        return shared_.data() + shared_begin_;
    }
    [[noreturn]] __attribute__((format(printf, 2, 3))) void fail(const char* format, ...) const {
        std::fprintf(stderr, "CUDA emulation: %s, BRAID_EMULATION_ORDER=%s: ",
                     kernel_ ? kernel_->name.c_str() : "no kernel", Order::chosen().name().c_str());
        va_list values;
        va_start(values, format);
        std::vfprintf(stderr, format, values);
        va_end(values);
        std::fputc('\n', stderr);
        std::abort();
    }

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
        fiber.copies.clear();
        fiber.group_sizes.clear();
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
        fail(
            "of %zu threads %zu wait at __syncthreads and %zu at a warp operation that the others never "
            "reach",
            count_, block, warp);
    }

    std::vector<std::unique_ptr<Fiber>> fibers_;
    size_t count_ = 0, current_ = 0;
    const std::function<void()>* body_ = nullptr;
    jmp_buf scheduler_;
    std::vector<std::byte> shared_; // with room around it, where nothing may be written
    size_t shared_begin_ = 0;
    std::vector<uint64_t> slots_;
    std::vector<std::byte> given_;
    std::vector<size_t> turns_;
    const Kernel* kernel_ = nullptr;
};

thread_local Block block;

void Block::enter() {
    (*block.body_)();
    const Fiber& fiber = block.current();
    size_t under_way = 0;
    for (const size_t size : fiber.group_sizes) under_way += size;
    if (!fiber.copies.empty())
        block.fail("thread %zu ends with %zu copies under way and %zu in no group", block.current_, under_way,
                   fiber.copies.size() - under_way);
    block.current().state = State::done;
    _longjmp(block.scheduler_, 1);
}

} // namespace

void run(const void* address, dim3 grid, dim3 size, size_t shared_bytes,
         const std::function<void()>& thread) {
    const size_t threads = size_t{size.x} * size.y * size.z;
    const Kernel& kernel = find_kernel(address, shared_bytes, threads);
    size_t static_bytes = 0;
    for (const auto& variable : kernel.shared) static_bytes += variable.bytes;
    if (threads == 0 || threads > 1024 || grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.y > 65535 ||
        grid.z > 65535 || grid.x > 2147483647u || static_bytes + shared_bytes > Chip::chosen().shared_bytes) {
        std::fprintf(
            stderr,
            "CUDA emulation: %s: a launch of %u x %u x %u blocks of %zu threads with %zu bytes of static "
            "and %zu of dynamic shared memory\n",
            kernel.name.c_str(), grid.x, grid.y, grid.z, threads, static_bytes, shared_bytes);
        std::abort();
    }
    const DeviceAccess access;
    static thread_local std::vector<size_t> turns;
    Order::chosen().arrange(turns, size_t{grid.x} * grid.y * grid.z);
    for (const size_t i : turns) {
        const dim3 index(static_cast<unsigned>(i % grid.x), static_cast<unsigned>(i / grid.x % grid.y),
                         static_cast<unsigned>(i / grid.x / grid.y));
        block.run(kernel, grid, size, index, shared_bytes, thread);
    }
}

const Built& built() {
    return block.current().built;
}

void* dynamic_shared(size_t alignment) {
    return block.shared(alignment);
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

void start_copy(void* to, const void* from, int bytes) {
    const auto aligned = [](const void* at) { return reinterpret_cast<uintptr_t>(at) % kCopyBytes == 0; };
    if (!aligned(to) || !aligned(from) || bytes < 0 || static_cast<size_t>(bytes) > kCopyBytes)
        block.fail("a copy of %d bytes from %p to %p: expected 0 to 16, and addresses at multiples of 16",
                   bytes, from, to);
    std::memset(to, kPoison, kCopyBytes);
    block.current().copies.push_back({to, from, static_cast<size_t>(bytes)});
}

void end_copies() {
    Fiber& fiber = block.current();
    size_t before = 0;
    for (const size_t size : fiber.group_sizes) before += size;
    fiber.group_sizes.push_back(fiber.copies.size() - before);
}

void wait_for_copies(int left) {
    Fiber& fiber = block.current();
    while (fiber.group_sizes.size() > static_cast<size_t>(left)) {
        const auto last = fiber.copies.begin() + static_cast<ptrdiff_t>(fiber.group_sizes.front());
        std::for_each(fiber.copies.begin(), last, [](const Copy& copy) { copy.finish(); });
        fiber.copies.erase(fiber.copies.begin(), last);
        fiber.group_sizes.erase(fiber.group_sizes.begin());
    }
}

void fail_in_kernel(const char* what) {
    block.fail("%s", what);
}

} // namespace cuda_emulation

extern "C" void __ubsan_get_current_report_data(const char** kind, const char** message, const char** file,
                                                unsigned* line, unsigned* column, char** address);

/// What the sanitizer calls before it reports: kernels are compiled with its checks of alignment
/// (cmake/Cuda.cmake), as a GPU refuses a vector at an address that the host's processor would take.
extern "C" void __ubsan_on_report() {
    const char *kind = nullptr, *message = nullptr, *file = nullptr;
    unsigned line = 0, column = 0;
    char* address = nullptr;
    __ubsan_get_current_report_data(&kind, &message, &file, &line, &column, &address);
    cuda_emulation::block.fail("%s:%u: %s", file ? file : "unknown file", line, message ? message : "?");
}
