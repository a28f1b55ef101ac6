#pragma once

namespace layalign::launch {

/// From here to the end of the process SIGTERM, SIGUSR1 and SIGINT only ask for a stop (trainer/stop.h); a second SIGINT
/// ends it at once. SIGPIPE is ignored: a run does not end because nobody reads its lines any more (`| head`).
///
/// A thread of its own waits for them; they are blocked in the caller and in every thread that is started later. A
/// handler would run on the stack of whatever thread is interrupted, and products of matrices compiled at run time use
/// the stack pointer for other things: the handler's frame would then be written over the heap. So this is called
/// before any other thread is started, and before MPI, so that a signal that comes early is not lost either.
void catch_stop_signals();

}  // namespace layalign::launch
