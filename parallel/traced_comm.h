#pragma once

#include "parallel/collective_log.h"
#include "parallel/communicator.h"

namespace braid {

/// The same communicator, with all it does recorded in `log`, which must outlive it and the ones split from
/// it. Ranks wait in slices, so that the log knows whom they wait for; what is complete when it is first
/// waited for costs one poll. Errors of the transport gain the collective and its label.
std::unique_ptr<Communicator> traced_communicator(std::unique_ptr<Communicator> inner, CollectiveLog& log,
                                                  std::string axis);

} // namespace braid
