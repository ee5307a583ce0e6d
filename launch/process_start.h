#pragma once

namespace braid {

/// First in main: makes the process safe against what its surroundings may do to it.
/// Descriptors 0 to 2 that are closed are opened, so that no file of ours becomes one of them and gets what
/// is printed; reading or writing them fails as before. A reader of the output that goes (SIGPIPE) and a
/// limit on the size of files (SIGXFSZ) become errors of the write. Libraries read some variables when they
/// are loaded: where one is to be set, the program starts itself anew with it. Throws ConfigError where
/// OMP_NUM_THREADS is no number of threads: libgomp takes any number there is, and ends in a segmentation
/// fault.
void prepare_process(char** argv);

} // namespace braid
