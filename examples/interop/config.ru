# A Rack application: says by which process, how and with how many bytes it was asked; /chunked in three pieces.
run(lambda do |env|
  pieces = if env["PATH_INFO"] == "/chunked"
    ["one\n", "two\n", "three\n"]
  else
    ["#{Process.pid} #{env["REQUEST_METHOD"]} #{env["rack.input"].read.bytesize}\n"]
  end
  [200, { "content-type" => "text/plain" }, pieces.each]
end)
