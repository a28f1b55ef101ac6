# Options that every target shares (a shared precompiled header needs equal options), and the functions that make rooms and programs.

# ccache serves sources with a precompiled header only if it may ignore macros that the header does not use and time stamps;
# set here, so that no user has to.
find_program(CCACHE ccache)
if(CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
    CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${CCACHE})
endif()

# g++ 12 sees overlaps in "literal" + std::string that are not there (-Wrestrict).
# Members that a designated initialiser leaves out have defaults on purpose (-Wmissing-field-initializers).
add_compile_options(-Wall -Wextra -Wno-unknown-pragmas -Wno-restrict -Wno-missing-field-initializers)
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")  # the work is done inside LibTorch: -O3 would only compile longer
# -fPIC for programs too: CMake would give them -fPIE, and then the compiler silently drops the precompiled header.
add_compile_options(-fPIC)
add_compile_options($<$<COMPILE_LANG_AND_ID:CXX,GNU>:-fpch-preprocess>)  # lets ccache see through the precompiled header
if(CMAKE_UNITY_BUILD)
  add_compile_options(-Wno-subobject-linkage)  # g++ takes a source that a batch includes for a header
endif()
if(LAYALIGN_WERROR)
  add_compile_options(-Werror)
endif()
if(LAYALIGN_SANITIZE)
  # vptr asks for the type information of LibTorch's classes, which its libraries do not export.
  add_compile_options(-fsanitize=${LAYALIGN_SANITIZE} -fno-sanitize=vptr -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${LAYALIGN_SANITIZE})
else()
  string(APPEND CMAKE_MODULE_LINKER_FLAGS " -Wl,--no-undefined")  # a plug-in's missing symbol fails here, not at run time
endif()
add_compile_definitions(OMPI_SKIP_MPICXX MPICH_SKIP_MPICXX)  # the C++ bindings of MPI are gone from the standard

# layalign_room(NAME [TORCH] SOURCES file... [LINK target...] [PRIVATE_LINK target...])
# A static library layalign_NAME (alias layalign::NAME). TORCH: it uses LibTorch and the shared precompiled header.
function(layalign_room name)
  cmake_parse_arguments(ARG "TORCH" "" "SOURCES;LINK;PRIVATE_LINK" ${ARGN})
  add_library(layalign_${name} STATIC ${ARG_SOURCES})
  add_library(layalign::${name} ALIAS layalign_${name})
  target_include_directories(layalign_${name} PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(layalign_${name} PUBLIC ${ARG_LINK} PRIVATE ${ARG_PRIVATE_LINK})
  if(ARG_TORCH)
    target_link_libraries(layalign_${name} PUBLIC layalign::torch)
    target_precompile_headers(layalign_${name} REUSE_FROM layalign_torch_pch)
  endif()
endfunction()

# layalign_program(NAME [TORCH] SOURCES file... LINK target...): an executable in the build folder, linked from bin/ by
# launch/setup.sh. TORCH: its own sources include LibTorch, so it uses the shared precompiled header.
function(layalign_program name)
  cmake_parse_arguments(ARG "TORCH" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE layalign::allocator ${ARG_LINK})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
  if(ARG_TORCH)
    target_precompile_headers(${name} REUSE_FROM layalign_torch_pch)
  endif()
endfunction()
