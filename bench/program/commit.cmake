# Finds the commit of these sources: cmake [-D FILE=...] [-D GIT=git] -P commit.cmake writes it into a C file, or prints
# it. A "-dirty" behind it says that files differ from it. It is "unknown" wherever these sources are not for certain
# the ones that git speaks of: without git or a repository, in a folder of another one, or where git refuses to look.
get_filename_component(top "${CMAKE_CURRENT_LIST_DIR}/../.." REALPATH)

# Asks git. Sets `answer`, to "failed" if git did.
macro(ask)
  execute_process(
    COMMAND "${CMAKE_COMMAND}" -E env --unset=GIT_DIR --unset=GIT_WORK_TREE --unset=GIT_COMMON_DIR
      --unset=GIT_INDEX_FILE --unset=GIT_NAMESPACE GIT_OPTIONAL_LOCKS=0 "${GIT}" ${ARGN}
    WORKING_DIRECTORY "${top}" RESULT_VARIABLE status OUTPUT_VARIABLE answer ERROR_QUIET)
  if(NOT status EQUAL 0)
    set(answer failed)
  endif()
endmacro()

set(commit unknown)
if(GIT)
  ask(rev-parse --is-inside-work-tree --show-prefix)
  if(answer STREQUAL "true\n\n") # the folder is the repository's own, not one inside it
    ask(ls-files --error-unmatch bench/program/commit.cmake)
    if(NOT answer STREQUAL "failed")
      ask(describe --always --dirty --abbrev=12 --exclude "*")
      if(answer MATCHES "^([0-9a-f]+(-dirty)?)\n$")
        set(commit "${CMAKE_MATCH_1}")
      endif()
    endif()
  endif()
endif()

if(NOT FILE)
  execute_process(COMMAND "${CMAKE_COMMAND}" -E echo "${commit}")
  return()
endif()
set(text "extern const char build_commit[]; /* commit.h */\nconst char build_commit[] = \"${commit}\";\n")
if(EXISTS "${FILE}")
  file(READ "${FILE}" before)
endif()
if(NOT text STREQUAL "${before}")
  file(WRITE "${FILE}" "${text}")
endif()
