#pragma once

#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <thread>
#include <utility>

#include "base/error.h"

namespace braid {

/// Polled by what may wait long; true: give up.
using StopRequested = std::function<bool()>;

/// The future's value, or Error with ExitCode::stopped once `stop` is true. Without `stop` it only waits.
template <typename T>
T await(std::future<T>& future, const StopRequested& stop) {
    if (stop)
        while (future.wait_for(std::chrono::milliseconds(50)) != std::future_status::ready)
            if (stop()) throw Error(ExitCode::stopped, "stopped by a signal");
    return future.get();
}

/// What `body` returns. Where it may hang, as reading a file whose server is gone, it runs in a thread of its
/// own, which is left to itself once `stop` is true: it must own all that it uses.
template <typename Body>
auto interruptible(Body body, const StopRequested& stop) -> decltype(body()) {
    if (!stop) return body();
    auto task = std::make_shared<std::packaged_task<decltype(body())()>>(std::move(body));
    auto future = task->get_future();
    std::thread([task] { (*task)(); }).detach();
    return await(future, stop);
}

} // namespace braid
