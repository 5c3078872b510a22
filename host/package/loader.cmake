# After an installation: has the loader find the shared library at once, where it looks in that folder at all, as in
# /usr/local/lib on most systems. It knows what is there from a list that ldconfig makes, which only root may do. Not
# for a staged tree (DESTDIR) or another machine's.
if(CMAKE_CROSSCOMPILING OR NOT "$ENV{DESTDIR}" STREQUAL "")
  return()
endif()
find_program(ldconfig ldconfig PATHS /sbin /usr/sbin)
if(NOT ldconfig)
  return()
endif()
get_filename_component(folder "${libdir}" ABSOLUTE BASE_DIR "${CMAKE_INSTALL_PREFIX}")
execute_process(COMMAND "${ldconfig}" -N -X -v OUTPUT_VARIABLE folders ERROR_QUIET) # lists, and changes nothing
string(FIND "\n${folders}" "\n${folder}:" place)
if(NOT place EQUAL -1)
  execute_process(COMMAND "${ldconfig}" RESULT_VARIABLE status OUTPUT_QUIET ERROR_QUIET)
  if(status EQUAL 0)
    message(STATUS "The loader finds the shared library in ${folder}")
    return()
  endif()
endif()
message(STATUS "The loader does not find the shared library in ${folder} by itself: link with -Wl,-rpath,${folder}")
