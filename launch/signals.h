#pragma once

namespace layalign::launch {

/// From here to the end of the process SIGTERM, SIGUSR1 and SIGINT only ask for a stop (trainer/stop.h); a second SIGINT ends it at
/// once. SIGPIPE is ignored: a run does not end because nobody reads its lines any more (`| head`). Called before MPI starts, so that a signal that comes early is not lost either.
void catch_stop_signals();

}  // namespace layalign::launch
