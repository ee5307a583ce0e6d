#pragma once

#include <cstdint>
#include <functional>

namespace braid {

/// Asked again and again, while the thread that made it waits for a GPU, whether the GPU can still get there;
/// `check` throws where it cannot: what waits for a rank that is gone never ends by itself. Lives and is
/// asked on one thread, but not while an exception unwinds.
class HostWaitCheck {
  public:
    explicit HostWaitCheck(std::function<void()> check);
    ~HostWaitCheck();
    HostWaitCheck(const HostWaitCheck&) = delete;
    HostWaitCheck& operator=(const HostWaitCheck&) = delete;

  private:
    const std::function<void()> check_;
};

/// Returns when `reached`, which is asked without pause at first, as most waits are short.
void wait_on_host(const std::function<bool()>& reached);

/// Waits of all threads of this process so far, those that ended at once too: each keeps the host from giving
/// the GPU more work.
int64_t num_host_waits();

} // namespace braid
